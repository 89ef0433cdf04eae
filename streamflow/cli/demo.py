"""streamflow demo: real Kafka, real departures, windows compared with an independent computation."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import typer

from streamflow.cli import departures as data
from streamflow.cli.demo_check import EVENTS_PER_REQUEST, run_flights
from streamflow.cli.run import spawn
from streamflow.cli.show import EXIT_FAILED, console, refusals
from streamflow.errors import ExternalError
from streamflow.settings.settings import load_settings

_FOLDER = Path(".streamflow/demo")
_TOPOLOGY = Path("topologies/flights")
_TABLE = "/v1/topologies/flights/tables/hourly_delays"
#: The demo publishes in larger requests than a worker takes by default.
_LIMITS = {"STREAMFLOW_BATCH_MAX_EVENTS": str(EVENTS_PER_REQUEST), "STREAMFLOW_BODY_MAX_BYTES": str(4 << 20)}
_READY_S = 60.0


def demo() -> None:
    """Run the flights topology on an embedded Kafka with 336,776 real departures. DEMO_ONCE=1 ends after the check."""
    from streamflow.runtime.embedded.broker import EmbeddedBroker

    shutil.rmtree(_FOLDER, ignore_errors=True)
    with refusals(), ThreadPoolExecutor(1) as beside:
        folder = data.data_folder()
        # Before there is a worker: a source that waits for its first event for long counts as idle.
        reading = beside.submit(data.read_events, folder)
        broker = EmbeddedBroker.start(_FOLDER / "kafka", 0, console.print)
        try:
            equal = _run(broker.bootstrap, reading.result(), folder)
        finally:
            broker.stop()
    if not equal:
        raise typer.Exit(EXIT_FAILED)


def _run(bootstrap: str, events: data.Events, folder: Path) -> bool:
    port = int(os.environ.get("STREAMFLOW_HTTP_PORT") or 8080)
    settings = load_settings(brokers=bootstrap, state_dir=_FOLDER / "state", http_port=port, log_level="warning")
    os.environ.update(_LIMITS, STREAMFLOW_LOG_LEVEL="warning")
    worker = spawn(_TOPOLOGY, settings, 0, 1)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_ready(client, worker)
            console.print(f"worker ready, API at http://127.0.0.1:{port}/docs")
            equal = run_flights(client, events, folder)
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


def _wait_for_interrupt(worker: "subprocess.Popen[bytes]") -> None:
    try:
        worker.wait()
    except KeyboardInterrupt:
        console.print("stopping")
