"""Load runs: what is offered is sent by the clock and counted from when it was due; grades and advice."""

import asyncio
import itertools
import json
import time
from typing import Any

import httpx
import pytest

from streamflow.cli.load import offer
from streamflow.cli.load_report import LoadRun, report

_WORK_S = 0.02


def _run(**over: Any) -> LoadRun:
    rates = {"offered_per_s": 100.0, "achieved_per_s": 100.0, "requests": 1_000, "errors": 0, "events_per_request": 1}
    times = dict.fromkeys(("mean_s", "min_s", "max_s", "p50_s", "p95_s", "p99_s"), 0.01)
    named: dict[str, Any] = {"name": "r", "seconds": 10.0, "first_error": ""}
    return LoadRun(**(named | rates | times | over))


def test_who_cannot_keep_up_is_offered_all_the_same_and_waiting_counts() -> None:
    at_work = asyncio.Lock()

    async def service(scope: Any, receive: Any, send: Any) -> None:
        """One request at a time; every tenth is refused, another tenth has an event rejected."""
        body = json.loads((await receive())["body"])
        async with at_work:
            await asyncio.sleep(_WORK_S)
        await send({"type": "http.response.start", "status": 429 if body["n"] == 3 else 200, "headers": []})
        answer = "<p>slowly</p>" if body["n"] == 3 else json.dumps({"rejected": [1] if body["n"] == 5 else []})
        await send({"type": "http.response.body", "body": answer.encode()})

    async def act() -> LoadRun:
        bodies = (json.dumps({"n": n % 10}).encode() for n in itertools.count())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://s") as client:
            return await offer(client, "/", bodies, 200.0, 0.2)

    run = asyncio.run(act())
    assert (run.requests, run.errors, run.offered_per_s) == (40, 8, 200.0)
    assert run.first_error == "<p>slowly</p>", "what the first refusal said"
    assert run.seconds >= 40 * _WORK_S
    assert run.achieved_per_s <= 32 / (40 * _WORK_S)
    assert run.max_s >= 40 * _WORK_S - 0.2, "the last was due after 0.2 s at most, and answered after all others"
    assert run.min_s <= run.p50_s <= run.p95_s <= run.p99_s <= run.max_s


def test_events_are_made_when_they_are_sent() -> None:
    """They may tell the time."""

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def act() -> list[float]:
        began, made = time.monotonic(), list[float]()
        bodies = (made.append(time.monotonic() - began) or b"{}" for _ in itertools.count())  # type: ignore[func-returns-value]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://s") as client:
            await offer(client, "/", bodies, 2.5, 0.8)
        return made

    made = asyncio.run(act())
    assert len(made) == 2
    assert made[1] >= 0.3, "it is due after 0.4 s"


@pytest.mark.parametrize(
    ("over", "grade"),
    [
        ({"errors": 9, "mean_s": 0.9, "achieved_per_s": 11}, "A"),
        ({"errors": 10, "mean_s": 0.9, "achieved_per_s": 11}, "B"),
        ({"mean_s": 1.0}, "B"),
        ({"achieved_per_s": 10}, "B"),
        ({"errors": 20}, "C"),
        ({"mean_s": 4.9, "achieved_per_s": 4}, "C"),
        ({"errors": 50}, "D"),
        ({"mean_s": 5.0}, "D"),
        ({"errors": 1_000, "achieved_per_s": 0}, "D"),
    ],
)
def test_grades(over: dict[str, Any], grade: str) -> None:
    assert _run(**over).grade == grade


def test_a_report_of_two_runs_has_their_grade_and_what_was_wrong() -> None:
    found = report([_run(name="10/s"), _run(name="1000/s", offered_per_s=1_000.0, errors=60, mean_s=2.0)])
    assert found["executive_summary"] == {
        "total_workflows_tested": 2,
        "average_performance_grade": "B",
        "critical_issues": 1,
        "optimization_opportunities": 3,
    }
    good, bad = found["detailed_results"]
    assert (good["grade"], good["problems"]) == ("A", {})
    assert (bad["grade"], sorted(bad["problems"])) == ("D", ["behind", "errors", "slow"])
    assert [each["about"] for each in found["optimization_recommendations"]] == ["errors", "slow", "behind"]
    assert len(found["next_steps"]) == 4
    assert report([_run()])["executive_summary"]["critical_issues"] == 0
