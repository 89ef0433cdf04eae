"""Whatever goes wrong is a problem document with the right status, and never a trace."""

import asyncio
from itertools import product
from typing import Any

import httpx
import pytest

from streamflow.errors import UserError
from streamflow.query.request import RowState
from tests.web.workers import EVENTS, TABLE, StoredWorker, workers


def _is_problem(answer: httpx.Response, status: int) -> bool:
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert body["status"] == status
    assert {"type", "title", "detail", "error_class"} <= set(body)
    assert "Traceback" not in answer.text
    return True


_BAD_PARAMETERS: list[dict[str, Any]] = [
    {"from": 2**61 + 1},
    {"to": -(2**61) - 1},
    {"from": "9" * 5_000},
    {"to": "9" * 25},
    {"from": "soon"},
    {"from": ""},
    {"from": "²"},
    {"from": "--5"},
    {"to": "2013-01-01T00:00:00+99:99"},
    {"limit": 0},
    {"limit": 1_001},
    {"limit": "x"},
    {"state": "maybe"},
    {"cursor": "ä"},
    {"cursor": "x"},
    {"after": "junk!"},
    {"after": "e30x"},
    {"partitions": ""},
    {"partitions": "-1"},
    {"partitions": "²"},
    {"wait_ms": -1},
    {"key": ""},
]


def test_a_parameter_that_cannot_be_is_422() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            for parameters in _BAD_PARAMETERS:
                assert _is_problem(await one.get(**parameters), 422), parameters

    asyncio.run(main())


def test_times_at_the_border_are_answered() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            times = (2**61, -(2**61), "0001-01-01", "9999-12-31T23:59:59.999999Z")
            for bound, time, state, key in product(("from", "to"), times, RowState, (None, "s1")):
                parameters: dict[str, Any] = {bound: time, "state": state.value} | ({} if key is None else {"key": key})
                assert (await one.get(**parameters)).status_code == 200, parameters

    asyncio.run(main())


def test_what_the_framework_refuses_is_a_problem_document_too() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            assert _is_problem(await one.get("/nowhere"), 404)
            wrong = await one.get(EVENTS)
            assert _is_problem(wrong, 405)
            assert wrong.headers["allow"] == "POST"
            assert _is_problem(await one.get("/v1/topologies/t/tables/hourlies"), 404)
            assert _is_problem(await one.get("/v1/topologies/u"), 404)

    asyncio.run(main())


def test_a_fault_of_ours_shows_no_trace(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns the request id, under which the log has the trace."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    async def main() -> None:
        async with workers(1) as (one,):
            monkeypatch.setattr(StoredWorker, "local", fail)
            answer = await one.get(TABLE)
            assert _is_problem(answer, 500)
            assert "secret" not in answer.text
            assert answer.headers["x-request-id"] in answer.json()["detail"]
            assert answer.headers["x-request-id"] in caplog.text
            assert "secret detail" in caplog.text

    asyncio.run(main())


def test_the_document_knows_every_answer_that_is_json_and_every_body() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            paths = (await one.get("/openapi.json")).json()["paths"]
            operations = {each["operationId"]: each for methods in paths.values() for each in methods.values()}
            also = {
                202: [
                    "execute",
                    "show_execution",
                    "pause",
                    "resume",
                    "stop",
                    "cancel",
                    "decide_approval",
                    "silence_alerts",
                ],
                503: ["healthz", "readyz"],
            }
            for status, names in also.items():
                for name in names:
                    assert "application/json" in operations[name]["responses"][str(status)]["content"], name
            assert list(operations["metrics"]["responses"]["200"]["content"]) == [
                "text/plain",
                "application/openmetrics-text",
            ]
            rows = operations["query_table"]["responses"]["200"]["content"]
            assert list(rows) == ["application/json", "text/csv"]
            with_body = {name for name, each in operations.items() if "requestBody" in each}
            reads = {"publish", "publish_as_owner", "execute", "edit_letter", "decide_approval"}
            alerts = {"acknowledge_alert", "clear_alert", "silence_alerts", "set_alert_rules"}
            reads |= {"check_kind", "kind_options"}
            assert with_body == reads | alerts | {
                "pause",
                "resume",
                "stop",
                "cancel",
                "cancel_execution",
                "restore_snapshot",
            }

    asyncio.run(main())


def test_a_profile_that_cannot_be_taken_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("profiles need Linux")

    async def main() -> None:
        monkeypatch.setattr(StoredWorker, "profile", fail)
        async with workers(1) as (one,):
            answer = await one.get("/v1/profile", seconds=1)
            assert _is_problem(answer, 501)
            assert answer.json()["detail"] == "profiles need Linux"

    asyncio.run(main())


def test_what_the_loop_waits_for_is_listed_with_its_lines() -> None:
    async def far_away() -> None:
        await asyncio.sleep(3_600)

    async def main() -> None:
        async with workers(1) as (one,):
            tasks = [asyncio.create_task(far_away(), name="calls of orders/3") for _ in range(3)]
            tasks += [asyncio.create_task(far_away()) for _ in range(50)]
            await asyncio.sleep(0)
            listed = (await one.get("/v1/tasks")).json()["tasks"]
            many, named = (next(each for each in listed if each["count"] == count) for count in (50, 3))
            assert (many["task"], named["task"]) == ("", "calls of orders/3")
            assert "test_problems.py" in named["at"]
            assert "far_away" in named["at"]
            for task in tasks:
                task.cancel()

    asyncio.run(main())
