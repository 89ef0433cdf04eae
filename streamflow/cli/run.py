"""streamflow run: one worker, or several under the supervisor."""

import gc
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.runs import BOUNDED, LIVE, Run, begin_run, ends_of, report_run, watching
from streamflow.cli.show import error_console, refusals
from streamflow.errors import UserError
from streamflow.settings.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamflow.runtime.supervisor import Supervisor

#: glibc gives freed memory back and takes it again, page fault by page fault; encoding results cost 2.0 µs each
#: instead of 0.5. Read at process start, hence set for the workers by their parent.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(512 << 20), "MALLOC_TOP_PAD_": str(64 << 20)}

#: What the workers of this supervisor know one another by, when nothing else was given.
_SECRET = secrets.token_hex(32)


def run(
    topology: Annotated[Path, typer.Argument(help="folder or file of the topology")],
    processes: Annotated[int, typer.Option(min=1, max=256, help="workers to run")] = 1,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port of the first worker; STREAMFLOW_HTTP_PORT")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="folder for state; STREAMFLOW_STATE_DIR")] = None,
    bounded: Annotated[
        bool, typer.Option("--bounded", help="end where the sources end now, close all windows")
    ] = False,
    start: Annotated[
        str | None, typer.Option("--from", help="where a run begins: earliest, an offset, an ISO 8601 time, a token")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="bounded: where it ends, said like --from; where the sources end now")
    ] = None,
    into: Annotated[
        str, typer.Option(help="run of its own: group, state and outputs get this name behind theirs")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="bounded: exit code 3 when there are dead letters")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="bounded: the report as JSON")] = False,
    outputs: Annotated[str, typer.Option(hidden=True, help="name behind those of the outputs, for rounds")] = "",
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
    leash: Annotated[bool, typer.Option("--leash", hidden=True, help="stop when standard input closes")] = False,
) -> None:
    """Run a topology against Kafka until Ctrl-C, or with --bounded until the end of what is there."""
    from streamflow.topology.load import load_topology

    with refusals(worker=worker):
        if (strict or as_json) and not bounded:
            raise UserError("--strict and --json are about the report of a run that ends: add --bounded")
        if end is not None and not bounded:
            raise UserError("--to is the end of a run that ends: add --bounded")
        which = Run(bounded, into or (BOUNDED if bounded else ""), outputs)
        if bounded and port is None and not worker:
            port = 0  # it may run beside a live worker
        settings = load_settings(brokers=brokers, http_port=port, state_dir=state_dir)
        plan = which.plan(load_topology(topology))
        if worker:
            work(topology, settings, which, leash=leash)
            return
        record = begin_run(plan, settings, start, end, which)
        began = time.monotonic()
        with watching(plan, settings, record):
            code = supervise(topology, settings, processes, which)
        if record is not None and bounded and code == 0:
            code = report_run(plan, settings, record, time.monotonic() - began, strict=strict, as_json=as_json)
        raise typer.Exit(code)


def supervise(topology: Path, settings: Settings, processes: int, which: Run = LIVE) -> int:
    """Run worker processes under the supervisor; its exit code."""
    return supervisor_of(topology, settings, processes, which).run()


def supervisor_of(topology: Path, settings: Settings, processes: int, which: Run) -> "Supervisor":
    """A supervisor of worker processes, not running yet."""
    from streamflow.runtime.supervisor import Supervisor

    return Supervisor(
        processes,
        lambda number: spawn(topology, settings, number, processes, which),
        lambda text: error_console.print(text, highlight=False),
    )


def spawn(
    topology: Path, settings: Settings, number: int, processes: int, which: Run = LIVE
) -> "subprocess.Popen[bytes]":
    """Start worker `number` with a state folder, a port and an instance id of its own; it ends with this process."""
    environment = {**MALLOC, **os.environ}
    environment["STREAMFLOW_BROKERS"] = settings.brokers
    environment["STREAMFLOW_STATE_DIR"] = str(settings.state_dir / f"worker-{number}")
    environment["STREAMFLOW_HTTP_PORT"] = str(settings.http_port + number if settings.http_port else 0)
    if not any(environment.get(f"STREAMFLOW_WORKER_SECRET{end}") for end in ("", "_FILE")):
        environment["STREAMFLOW_WORKER_SECRET"] = _SECRET
    if settings.instance_id:
        environment["STREAMFLOW_INSTANCE_ID"] = f"{settings.instance_id}-{number}"
    command = [sys.executable, "-m", "streamflow", "run", str(topology), "--worker", "--leash", *which.options()]
    # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which passes it on once.
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own command


def work(topology: Path, settings: Settings, which: Run = LIVE, *, leash: bool = False) -> None:
    """Be a worker: runs until it is asked to stop."""
    gc.disable()  # what start-up makes stays; the worker turns it on again
    import uvloop

    from streamflow.cli.access import access_of, tls_of
    from streamflow.cli.alerting import alert_companions
    from streamflow.cli.service import WorkerService
    from streamflow.logs.place import PROCESS
    from streamflow.logs.setup import set_up_logs
    from streamflow.runtime.leash import hold
    from streamflow.runtime.run_end import RunEnd
    from streamflow.runtime.sealer import Sealer
    from streamflow.runtime.state_lock import lock_state
    from streamflow.runtime.timers import Timers
    from streamflow.runtime.worker import Worker
    from streamflow.topology.load import load_topology
    from streamflow.web.app import HttpServer

    set_up_logs(settings.log_level, settings.log_format)
    spec = load_topology(topology)
    plan = which.plan(spec)
    # First of all: a predecessor that is stopping has the port, too.
    lock_state(settings.state_dir / plan.identity, settings.shutdown_deadline_ms / 1_000)

    async def main() -> None:
        server = HttpServer(settings.http_host, settings.http_port, settings.advertised_url, tls_of(settings))
        access = access_of(settings, server.url)
        PROCESS.update(topology=plan.identity, worker=server.url)
        ends = await ends_of(plan, settings) if which.bounded else None
        worker = Worker(plan, settings, server.url, spec, ends)
        service = WorkerService(spec, worker, server, access)
        worker.companions.append(service)
        if settings.audit_key and settings.events_detail != "off":
            worker.companions.append(Sealer(settings))
        if settings.alerts and not which.name:
            worker.companions += alert_companions(service, settings)
        if plan.timers and not which.name and not which.bounded:
            timers = Timers(worker)
            service.timer_counts = timers.counts
            worker.companions.append(timers)
        if which.bounded:
            worker.companions.append(RunEnd(worker))
        if leash:
            hold(sys.stdin.fileno(), worker)
        await worker.run()

    uvloop.run(main())
