"""The demo's part as a client: publishes the data over HTTP, reads every table back, compares with a computation."""

import time
from collections.abc import Callable
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


def run_flights(client: httpx.Client) -> bool:
    """Publish, process, read back, compare; whether everything is equal."""
    console.print("reading the departures of 2013 …")
    departures, airlines, airports = data.read_departures(), data.read_airlines(), data.read_airports()
    names = {each["carrier"]: each["name"] for each in airlines}, {each["faa"]: each["name"] for each in airports}
    started = time.monotonic()
    # What departures are enriched with has to be there before them.
    wrong = _fill_table(client, "carriers", airlines, names[0]) + _fill_table(client, "airports", airports, names[1])
    token = _publish(client, departures)
    found = {table: _read_all(client, table, token) for table in model.TABLES}
    took_s = time.monotonic() - started
    _print_carriers(found["hourly_delays"])
    console.print(f"{len(departures):,} departures published, processed and read back in {took_s:.1f} s")
    for table, compute in model.TABLES.items():
        differing = model.differences(found[table], compute(departures, *names))
        final = sum(row["final"] for row in found[table])
        _print_verdict(table, f"{len(found[table]):,} windows, {final:,} of them final", differing)
        wrong += differing
    for line in wrong[:10]:
        console.print(f"[red]✗[/] {line}", highlight=False, markup=False)
    return not wrong


def _fill_table(client: httpx.Client, table: str, rows: list[dict[str, Any]], names: model.Names) -> list[str]:
    """Publish the rows of a global table, and compare what queries show of it."""
    token = encode_token(_send(client, f"flights.{table}", rows, lambda _: None))
    _wait(client, table, token, lambda: None)
    found = _read_all(client, table, token)
    differing = model.name_differences(found, names)
    _print_verdict(table, f"{len(found):,} rows in memory", differing)
    return differing


def _print_verdict(table: str, what: str, differing: list[str]) -> None:
    verdict = f"[red]✗ {len(differing)} differ[/]" if differing else "[green]✓ equal to the computation[/]"
    console.print(f"{table}: {what}: {verdict}", highlight=False)


def _publish(client: httpx.Client, departures: list[dict[str, Any]]) -> str:
    """Publish everything while the windows fill; the token of the last positions."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=len(departures))
        folded = progress.add_task("in windows", total=sum(each["dep_delay"] is not None for each in departures))
        closed = progress.add_task("windows closed", total=None)

        def show() -> None:
            nodes = [task["nodes"].get("hourly") for task in client.get("/v1/topologies/flights").json()["tasks"]]
            progress.update(folded, completed=sum(node["in"] for node in nodes if node))
            progress.update(closed, completed=sum(node["out"] for node in nodes if node))

        def sent(count: int) -> None:
            progress.advance(published, count)
            show()

        token = encode_token(_send(client, "flights.departures", departures, sent))
        for table in model.TABLES:
            _wait(client, table, token, show)
        show()
    return token


def _send(client: httpx.Client, topic: str, events: list[dict[str, Any]], sent: Callable[[int], None]) -> Positions:
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


def _read_all(client: httpx.Client, table: str, token: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {"limit": 1_000, "after": token}
    while True:
        answer = client.get(f"{_TABLES}/{table}", params=parameters).json()
        rows += answer["rows"]
        if answer["cursor"] is None:
            return rows
        parameters = {"limit": 1_000, "cursor": answer["cursor"]}


def _print_carriers(rows: list[dict[str, Any]]) -> None:
    carriers: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        carriers.setdefault(row["key"], []).append(row["value"])
    lines = []
    for carrier, values in sorted(carriers.items(), key=lambda each: -sum(v["departures"] for v in each[1])):
        count = sum(value["departures"] for value in values)
        mean = sum(value["mean_delay"] * value["departures"] for value in values) / count
        lines.append(
            [carrier, f"{len(values):,}", f"{count:,}", f"{mean:.1f}", f"{max(v['worst'] for v in values):.0f}"]
        )
    print_table(
        "hourly_delays by carrier", ["carrier", "windows", "departures", "mean delay, min", "worst, min"], lines
    )
