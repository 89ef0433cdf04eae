"""streamflow load: offer a worker requests at fixed rates, and report what became of them.

The generator is open-loop: requests are due by the clock, also while answers are slow, and their times count from then.
So what waits is seen, and a service that cannot keep up is told from one that is asked slowly.
"""

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from streamflow.cli.client import URL, Url
from streamflow.cli.connect import connect_async
from streamflow.cli.load_report import LoadRun, report
from streamflow.cli.show import AsJson, console, plain, print_json, print_table, refusals
from streamflow.errors import UserError

#: Requests under way at once; beyond it they are sent late, which counts.
OUTSTANDING_MAX = 500
_TIMEOUT_S = 60.0
_REQUESTS_MAX = 1_000_000
_SAID_CHARS = 300


def load(
    topic: Annotated[str, typer.Argument(help="source topic; with --execute, the topology")],
    file: Annotated[Path, typer.Argument(help="NDJSON file of events, taken in turns")],
    rate: Annotated[list[float] | None, typer.Option(min=0.1, help="requests per second; one run each")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="of each run")] = 10.0,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="events per request")] = 1,
    now: Annotated[str, typer.Option(help="field that gets the time of sending")] = "",
    execute: Annotated[bool, typer.Option(help="wait for what becomes of each event, in sinks")] = False,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Offer requests at fixed rates; reports offered and achieved rates, times from when each was due, and a grade."""
    with refusals():
        rates = rate or [10.0, 100.0]
        bodies = _bodies(_events(file), batch, now)
        path = f"/v1/topologies/{topic}/execute" if execute else f"/v1/topics/{topic}/events"
        if max(rates) * seconds > _REQUESTS_MAX:
            count = max(rates) * seconds
            raise UserError(f"{count:,.0f} requests are more than {_REQUESTS_MAX:,}: take fewer --seconds")
        runs = asyncio.run(_runs(url, path, bodies, rates, seconds, batch))
    found = report(runs)
    print_json(found) if as_json else _print(found)


async def _runs(
    url: str, path: str, bodies: Iterator[bytes], rates: Iterable[float], seconds: float, batch: int
) -> list[LoadRun]:
    async with connect_async(url, _TIMEOUT_S) as client:
        return [await offer(client, path, bodies, each, seconds, batch) for each in sorted(rates)]


async def offer(
    client: httpx.AsyncClient, path: str, bodies: Iterator[bytes], rate_per_s: float, seconds: float, batch: int = 1
) -> LoadRun:
    """One run. Answers other than 200, ones that reject events, and none at all are errors; none is asked again."""
    times, errors = list[float](), list[str]()
    room, clock = asyncio.Semaphore(OUTSTANDING_MAX), time.perf_counter

    async def ask(due: float, body: bytes) -> None:
        try:
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            if answer.status_code != 200:
                said = answer.text or f"status {answer.status_code}"
            else:
                rejected = answer.json().get("rejected")
                said = f"{rejected[0]}" if rejected else ""
        except (httpx.HTTPError, ValueError) as error:
            said = repr(error)
        finally:
            room.release()
        times.append(clock() - due)
        if said:
            errors.append(said)

    started, count = clock(), max(2, round(rate_per_s * seconds))
    async with asyncio.TaskGroup() as asking:
        for number in range(count):
            due = started + number / rate_per_s
            await asyncio.sleep(max(0.0, due - clock()))
            await room.acquire()
            asking.create_task(ask(due, next(bodies)))  # made now: they may tell the time of sending
    took_s = max(seconds, clock() - started)
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return LoadRun(
        name=f"{rate_per_s:g}/s",
        seconds=took_s,
        offered_per_s=count / seconds,
        achieved_per_s=(count - len(errors)) / took_s,
        requests=count,
        errors=len(errors),
        first_error=errors[0][:_SAID_CHARS] if errors else "",
        events_per_request=batch,
        mean_s=statistics.fmean(times),
        min_s=min(times),
        max_s=max(times),
        p50_s=cuts[49],
        p95_s=cuts[94],
        p99_s=cuts[98],
    )


def _events(file: Path) -> list[dict[str, Any]]:
    """Raises UserError."""
    try:
        events = [json.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as NDJSON: {error}") from error
    if not events or not all(isinstance(event, dict) for event in events):
        raise UserError(f"{file} needs one JSON object per line, and at least one")
    return events


def _bodies(events: list[dict[str, Any]], batch: int, now: str) -> Iterator[bytes]:
    """Endless bodies of `batch` events each. now: field that gets the time."""
    turns = itertools.cycle(events)
    while True:
        more = {now: round(time.time() * 1_000)} if now else {}
        some = [event | more for event in itertools.islice(turns, batch)]
        yield json.dumps(some if batch > 1 else some[0]).encode()


def _print(found: dict[str, Any]) -> None:
    columns = ["run", "offered/s", "achieved/s", "errors", "mean ms", "p50 ms", "p95 ms", "p99 ms", "grade"]
    rows = [
        [
            each["name"],
            f"{each['offered_per_s']:.1f}",
            f"{each['achieved_per_s']:.1f}",
            each["errors"],
            *(f"{each[name] * 1_000:.1f}" for name in ("mean_s", "p50_s", "p95_s", "p99_s")),
            each["grade"],
        ]
        for each in found["detailed_results"]
    ]
    print_table("load", columns, rows)
    summary = found["executive_summary"]
    said = f"grade {summary['average_performance_grade']}, {summary['critical_issues']} critical issues"
    console.print(f"{said}, {summary['optimization_opportunities']} things to look at", highlight=False)
    for each in found["detailed_results"]:
        for problem in each["problems"].values():
            console.print(f"  {each['name']}: {plain(problem)}", highlight=False)
    for each in found["optimization_recommendations"]:
        console.print(f"  → {each['advice']}", highlight=False)
