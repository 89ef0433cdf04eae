"""streamflow demo: real Kafka, real departures, windows compared with an independent computation."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streamflow.cli import delays
from streamflow.cli import departures as data
from streamflow.cli.client import post_events
from streamflow.cli.run import spawn
from streamflow.cli.show import EXIT_FAILED, console, print_table, refusals
from streamflow.errors import ExternalError
from streamflow.model.position import Positions, decode_token, encode_token
from streamflow.settings.settings import load_settings

_FOLDER = Path(".streamflow/demo")
_TOPOLOGY = Path("topologies/flights")
_TABLE = "/v1/topologies/flights/tables/hourly_delays"
#: The demo publishes in larger requests than a worker takes by default.
_LIMITS = {"STREAMFLOW_BATCH_MAX_EVENTS": "10000", "STREAMFLOW_BODY_MAX_BYTES": str(4 << 20)}
_EVENTS_PER_REQUEST = int(_LIMITS["STREAMFLOW_BATCH_MAX_EVENTS"])
_READY_S = 60.0
_DONE_S = 120.0


def demo() -> None:
    """Run the flights topology on an embedded Kafka with 336,776 real departures. DEMO_ONCE=1 ends after the check."""
    from streamflow.runtime.embedded.broker import EmbeddedBroker

    shutil.rmtree(_FOLDER, ignore_errors=True)
    with refusals():
        broker = EmbeddedBroker.start(_FOLDER / "kafka", 0, console.print)
        try:
            equal = _run(broker.bootstrap)
        finally:
            broker.stop()
    if not equal:
        raise typer.Exit(EXIT_FAILED)


def _run(bootstrap: str) -> bool:
    port = int(os.environ.get("STREAMFLOW_HTTP_PORT") or 8080)
    settings = load_settings(brokers=bootstrap, state_dir=_FOLDER / "state", http_port=port, log_level="warning")
    os.environ.update(_LIMITS, STREAMFLOW_LOG_LEVEL="warning")
    worker = spawn(_TOPOLOGY, settings, 0, 1)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_ready(client, worker)
            console.print(f"worker ready, API at http://127.0.0.1:{port}/docs")
            equal = _show(client)
        if not os.environ.get("DEMO_ONCE"):
            console.print(f"serving on http://127.0.0.1:{port}, for example {_TABLE}?key=UA&limit=5 (Ctrl-C ends)")
            _wait_for_interrupt(worker)
        return equal
    finally:
        worker.terminate()
        worker.wait(60)


def _wait_ready(client: httpx.Client, worker: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise ExternalError(f"the worker ended with {worker.returncode}, see its log above")
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    raise ExternalError(f"the worker was not ready after {_READY_S:.0f} s")


def _show(client: httpx.Client) -> bool:
    console.print("reading the departures of 2013 …")
    archive = data.data_file()
    departures = data.read_departures(archive)
    started = time.monotonic()
    token = _publish(client, departures)
    rows = _read_all(client, token)
    took_s = time.monotonic() - started
    _print(rows)
    expected = delays.compute_delays(archive)
    wrong = delays.differences(rows, expected)
    counted = sum(row["value"]["departures"] for row in rows)
    final = sum(row["final"] for row in rows)
    console.print(f"{len(departures):,} departures published, processed and read back in {took_s:.1f} s")
    console.print(
        f"table: {counted:,} flown departures in {len(rows):,} windows ({final:,} final, {len(rows) - final:,} open)"
    )
    console.print(f"independent computation: {sum(c for c, _, _ in expected.values()):,} in {len(expected):,} windows")
    for line in wrong[:10]:
        console.print(f"[red]✗[/] {line}", highlight=False)
    console.print("[green]✓ every window equals[/]" if not wrong else f"[red]✗ {len(wrong)} windows differ[/]")
    return not wrong


def _publish(client: httpx.Client, departures: list[dict[str, Any]]) -> str:
    """Publish everything while the windows fill; the token of the last positions."""
    ends: Positions = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=len(departures))
        folded = progress.add_task("in windows", total=sum(each["dep_delay"] is not None for each in departures))
        closed = progress.add_task("windows closed", total=None)
        for count, body in data.bodies(departures, _EVENTS_PER_REQUEST):
            answer = post_events(client, "/v1/topics/flights.departures/events", {}, body).json()
            if answer.get("accepted") != count:
                raise ExternalError(f"{count} departures were sent, the answer is {answer}")
            for topic, partitions in decode_token(answer["token"]).items():
                ends.setdefault(topic, {}).update(partitions)
            progress.advance(published, count)
            _show_counts(client, progress, folded, closed)
        token = encode_token(ends)
        deadline = time.monotonic() + _DONE_S
        while client.get(_TABLE, params={"after": token, "limit": 1, "wait_ms": 200}).status_code != 200:
            _show_counts(client, progress, folded, closed)
            if time.monotonic() > deadline:
                raise ExternalError(f"the departures were not processed after {_DONE_S:.0f} s")
        _show_counts(client, progress, folded, closed)
    return token


def _show_counts(client: httpx.Client, progress: Progress, folded: Any, closed: Any) -> None:
    nodes = [task["nodes"].get("hourly") for task in client.get("/v1/topologies/flights").json()["tasks"]]
    progress.update(folded, completed=sum(node["in"] for node in nodes if node))
    progress.update(closed, completed=sum(node["out"] for node in nodes if node))


def _read_all(client: httpx.Client, token: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {"limit": 1_000, "after": token}
    while True:
        answer = client.get(_TABLE, params=parameters).json()
        rows += answer["rows"]
        if answer["cursor"] is None:
            return rows
        parameters = {"limit": 1_000, "cursor": answer["cursor"]}


def _print(rows: list[dict[str, Any]]) -> None:
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


def _wait_for_interrupt(worker: "subprocess.Popen[bytes]") -> None:
    try:
        worker.wait()
    except KeyboardInterrupt:
        console.print("stopping")
