"""The demo's part as a client: publishes the data over HTTP, reads every table back, compares with a computation."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streamflow.cli import departures as data
from streamflow.cli import flights_model as model
from streamflow.cli.client import post_events
from streamflow.cli.show import console, print_table
from streamflow.errors import ExternalError
from streamflow.model.position import Positions, decode_token, encode_token

EVENTS_PER_REQUEST = 10_000
_DONE_S = 120.0
_TABLES = "/v1/topologies/flights/tables"
_Rows = list[dict[str, Any]]


def run_flights(client: httpx.Client, events: data.Events, folder: Path) -> bool:
    """Publish, process, read back, compare; whether everything is equal."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        # The client has little to do while the worker is busy.
        computing = beside.submit(_compute, folder)
        tables = {
            "carriers": _fill_table(client, "carriers", events.airlines),
            "airports": _fill_table(client, "airports", events.airports),
            # All of it beforehand: departures do not wait for a report, and what comes later cannot be missed.
            "weather": _fill_table(client, "weather", events.weather),
        }
        token = _publish(client, events)
        found = {table: _read_all(client, table, token) for table in model.TABLES}
        took_s = time.monotonic() - started
        known, expected = computing.result()
    _print_summary("hourly_delays by carrier", "carrier", found["hourly_delays"])
    _print_summary("weather_delays by weather", "weather", found["weather_delays"])
    console.print(f"{len(events.departures):,} departures published, processed and read back in {took_s:.1f} s")
    wrong = _compare(tables, found, known, expected)
    for line in wrong[:10]:
        console.print(f"[red]✗[/] {line}", highlight=False, markup=False)
    return not wrong


def _compute(folder: Path) -> tuple[model.Data, dict[str, model.Expected]]:
    known = model.read_data(folder)
    return known, {table: compute(known) for table, compute in model.TABLES.items()}


def _compare(
    tables: dict[str, _Rows], found: dict[str, _Rows], known: model.Data, expected: dict[str, model.Expected]
) -> list[str]:
    differing = {
        "carriers": model.name_differences(tables["carriers"], known.airlines),
        "airports": model.name_differences(tables["airports"], known.airports),
        "weather": model.weather_differences(tables["weather"], known.weather),
    }
    for table, wrong in differing.items():
        _print_verdict(table, f"{len(tables[table]):,} rows", wrong)
    for table, rows in found.items():
        differing[table] = [f"{table}: not final: {row}" for row in rows if not row["final"]]
        differing[table] += model.differences(rows, expected[table])
        _print_verdict(table, f"{len(rows):,} windows, all of them closed", differing[table])
    return [line for wrong in differing.values() for line in wrong]


def _fill_table(client: httpx.Client, table: str, events: _Rows) -> _Rows:
    """Publish the rows of a table, and give what queries show of it."""
    token = encode_token(_send(client, f"flights.{table}", events, lambda _: None))
    _wait(client, table, token, lambda: None)
    return _read_all(client, table, token)


def _print_verdict(table: str, what: str, differing: list[str]) -> None:
    verdict = f"[red]✗ {len(differing)} differ[/]" if differing else "[green]✓ equal to the computation[/]"
    console.print(f"{table}: {what}: {verdict}", highlight=False)


def _publish(client: httpx.Client, events: data.Events) -> str:
    """Publish the departures while the windows fill, and the end of the year; the token of the last positions."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=len(events.departures))
        folded = progress.add_task("in windows", total=sum(each["dep_delay"] is not None for each in events.departures))
        closed = progress.add_task("windows closed", total=None)

        def show() -> None:
            nodes = [task["nodes"].get("hourly") for task in client.get("/v1/topologies/flights").json()["tasks"]]
            progress.update(folded, completed=sum(node["in"] for node in nodes if node))
            progress.update(closed, completed=sum(node["out"] for node in nodes if node))

        def sent(count: int) -> None:
            progress.advance(published, count)
            show()

        reports, cancelled = data.closing(events)
        _send(client, "flights.departures", events.departures, sent)
        ends = _send(client, "flights.weather", reports, lambda _: None)
        ends |= _send(client, "flights.departures", cancelled, lambda _: None)
        token = encode_token(ends)
        for table in model.TABLES:
            _wait(client, table, token, show)
        show()
    return token


def _send(client: httpx.Client, topic: str, events: _Rows, sent: Callable[[int], None]) -> Positions:
    """Publish in batches; the positions behind the last ones."""
    ends: Positions = {}
    for count, body in data.bodies(events, EVENTS_PER_REQUEST):
        answer = post_events(client, f"/v1/topics/{topic}/events", {}, body).json()
        if answer.get("accepted") != count:
            raise ExternalError(f"{count} events were sent to {topic}, the answer is {answer}")
        for name, partitions in decode_token(answer["token"]).items():
            ends.setdefault(name, {}).update(partitions)
        sent(count)
    return ends


def _wait(client: httpx.Client, table: str, token: str, show: Callable[[], None]) -> None:
    deadline = time.monotonic() + _DONE_S
    parameters: dict[str, Any] = {"after": token, "limit": 1, "wait_ms": 200}
    while client.get(f"{_TABLES}/{table}", params=parameters).status_code != 200:
        show()
        if time.monotonic() > deadline:
            raise ExternalError(f"{table} does not reflect what was published after {_DONE_S:.0f} s")


def _read_all(client: httpx.Client, table: str, token: str) -> _Rows:
    rows: _Rows = []
    parameters: dict[str, Any] = {"limit": 1_000, "after": token}
    while True:
        answer = client.get(f"{_TABLES}/{table}", params=parameters).json()
        rows += answer["rows"]
        if answer["cursor"] is None:
            return rows
        parameters = {"limit": 1_000, "cursor": answer["cursor"]}


def _print_summary(title: str, column: str, rows: _Rows) -> None:
    """A line per key over all windows, most departures first."""
    keys: dict[str, _Rows] = {}
    for row in rows:
        keys.setdefault(row["key"], []).append(row["value"])
    lines = []
    for key, values in sorted(keys.items(), key=lambda each: -sum(v["departures"] for v in each[1])):
        count = sum(value["departures"] for value in values)
        mean = sum(value["mean_delay"] * value["departures"] for value in values) / count
        lines.append([key, f"{len(values):,}", f"{count:,}", f"{mean:.1f}", f"{max(v['worst'] for v in values):.0f}"])
    print_table(title, [column, "windows", "departures", "mean delay, min", "worst, min"], lines)
