"""streamflow audit: what happened, whether anybody changed the log, and a copy that proves it."""

import asyncio
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.filter import EventFilter
from streamflow.cli.show import EXIT_FAILED, AsJson, console, print_json, print_table, refusals
from streamflow.errors import UserError
from streamflow.settings.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamflow.bus.audit.copy import Proof
    from streamflow.bus.audit.keys import Verifier
    from streamflow.bus.executions import ExecutionTable
    from streamflow.bus.projection import StatusTable

audit = typer.Typer(help="The event bus as the audit log: list, verify, export.", no_args_is_help=True)

Brokers = Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")]
Namespace = Annotated[str | None, typer.Option(help="whose bus; STREAMFLOW_NAMESPACE")]
_SCAN_MAX = 1 << 62


@audit.command("list")
def list_events(
    kind: Annotated[list[str] | None, typer.Option("--type", help="type; may be given several times")] = None,
    topology: Annotated[str, typer.Option(help="of this topology")] = "",
    node: Annotated[str, typer.Option(help="of this node")] = "",
    key: Annotated[str, typer.Option(help="with this partitionkey, such as an execution's id")] = "",
    severity: Annotated[Severity, typer.Option(help="at least")] = Severity.DEBUG,
    since: Annotated[datetime | None, typer.Option(help="UTC")] = None,
    until: Annotated[datetime | None, typer.Option(help="UTC, not included")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="events")] = 1_000,
    brokers: Brokers = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show events, oldest first."""
    with refusals():
        for each in kind or ():
            if each not in set(EventType):
                raise UserError(f"there is no type {each!r}; types are {', '.join(EventType)}")
        span = (None if time is None else time.replace(tzinfo=UTC) for time in (since, until))
        wanted = EventFilter(frozenset(kind or ()), topology, node, key, severity, *span)
        events = asyncio.run(_read(load_settings(brokers=brokers, namespace=namespace), wanted, limit))
        if as_json:
            print_json(events)
            return
        rows = [
            [each["time"], each["severity"], each["type"], each["subject"], each.get("actor", ""), each["data"]]
            for each in events
        ]
        print_table("events", ["time", "severity", "type", "subject", "actor", "data"], rows)


async def _read(settings: Settings, wanted: EventFilter, limit: int) -> list[dict[str, Any]]:
    from streamflow.bus.topics import events_topic
    from streamflow.runtime.audit import read_page
    from streamflow.runtime.bus_reader import BusReader

    async with BusReader(settings, events_topic(settings)) as reader:
        # Records are written after their events' times.
        starts = {} if wanted.since is None else await reader.at_time(int(wanted.since.timestamp() * 1_000))
        return (await read_page(reader, starts, wanted, limit, _SCAN_MAX)).events


@audit.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="a copy made by `audit export`, instead of Kafka")] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(help="PEM, several after a change of keys; else that of STREAMFLOW_AUDIT_KEY"),
    ] = None,
    brokers: Brokers = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Check that nothing was changed, taken out, put in or moved. Exit code 1 with every finding and its place."""
    from streamflow.bus.audit.copy import check_copy

    with refusals():
        settings = load_settings(brokers=brokers, namespace=namespace)
        keys = _keys(settings, public_key or [])
        if file is None:
            proof = asyncio.run(_prove(settings, keys))
        else:
            if not file.is_file():
                raise UserError(f"there is no file {file}")
            with file.open("rb") as lines:
                proof = check_copy(lines, keys)
        _print_proof(proof, as_json=as_json)
        if proof.findings:
            raise typer.Exit(EXIT_FAILED)


def _keys(settings: Settings, files: list[Path]) -> "dict[str, Verifier]":
    from streamflow.bus.audit.keys import Verifier

    references = [f"file:{path}" for path in files] or [settings.audit_key]
    if references == [""]:
        raise UserError("no key to verify with: give --public-key, or set STREAMFLOW_AUDIT_KEY")
    keys = [Verifier.load(reference) for reference in references]
    return {key.key_id: key for key in keys}


async def _prove(settings: Settings, keys: "dict[str, Verifier]") -> "Proof":
    from streamflow.bus.audit.copy import Proof
    from streamflow.runtime.audit import sealed_log

    proof = Proof(keys)
    async for part in sealed_log(settings):
        proof.add(part)
    return proof.end()


def _print_proof(proof: "Proof", *, as_json: bool) -> None:
    checks = sorted(proof.partitions.values(), key=lambda check: check.partition)
    if as_json:
        findings = [asdict(each) for each in proof.findings]
        partitions = [
            {**check.head, "begin": check.begin, "proved": check.sealed_count, "unsealed": check.unsealed_count}
            for check in checks
        ]
        print_json({"good": not findings, "findings": findings, "partitions": partitions})
        return
    rows = [[c.partition, c.begin, c.sealed_count, c.unsealed_count, c.head["chain"]] for c in checks]
    print_table("proof", ["partition", "begins", "proved", "not sealed yet", "head"], rows)
    for each in proof.findings:
        console.print(f"[red]✗[/] {each.kind}: {each}", highlight=False)
    if not proof.findings:
        console.print("[green]✓[/] nothing was changed")


@audit.command()
def export(
    file: Annotated[Path, typer.Argument(help="NDJSON, must not exist")],
    brokers: Brokers = None,
    namespace: Namespace = None,
) -> None:
    """Write the whole log with its seals to a file that `audit verify --file` checks."""
    with refusals():
        if file.exists():
            raise UserError(f"{file} is there already")
        count = asyncio.run(_export(load_settings(brokers=brokers, namespace=namespace), file))
        console.print(f"{count} events")


async def _export(settings: Settings, file: Path) -> int:
    from streamflow.bus.audit.copy import encode_part
    from streamflow.bus.audit.digest import LogRecord
    from streamflow.runtime.audit import sealed_log

    count = 0
    with file.open("wb") as lines:
        async for part in sealed_log(settings):
            lines.write(encode_part(part) + b"\n")
            count += isinstance(part, LogRecord)
    return count


@audit.command()
def key(
    file: Annotated[Path, typer.Argument(help="private key, must not exist; the public one goes to FILE.pub")],
) -> None:
    """Make a key to seal the bus with. Keep the private one where the workers, and nobody else, read it."""
    from streamflow.bus.audit.keys import Signer

    with refusals():
        made = Signer.new()
        public = file.with_name(f"{file.name}.pub")
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(made.private_pem())
        except OSError as error:
            raise UserError(f"{file} cannot be written: {error.strerror}") from error
        public.write_bytes(made.public.pem())
        console.print(f"key {made.key_id}: set STREAMFLOW_AUDIT_KEY=file:{file}; verify with {public}", highlight=False)


@audit.command()
def rebuild(
    upto: Annotated[
        str, typer.Option(help="cursor, as X-Cursor of /v1/events/status, `upto` of /v1/executions; else all there is")
    ] = "",
    executions: Annotated[bool, typer.Option("--executions", help="the table of executions instead")] = False,
    brokers: Brokers = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Make the status table anew from the log: versions, states, dead letters, alerts of every topology and node."""
    from streamflow.bus.executions import ExecutionTable
    from streamflow.bus.feed import parse_cursor
    from streamflow.bus.projection import StatusTable

    with refusals():
        settings = load_settings(brokers=brokers, namespace=namespace)
        empty = ExecutionTable() if executions else StatusTable()
        table = asyncio.run(_rebuild(settings, parse_cursor(upto) if upto else None, empty))
        if as_json:
            typer.echo(table, nl=False)
            return
        rows = [[subject, row] for subject, row in json.loads(table)["rows"].items()]
        print_table("executions" if executions else "status", ["of", "what the log says"], rows)


async def _rebuild(settings: Settings, upto: dict[int, int] | None, table: "ExecutionTable | StatusTable") -> bytes:
    from streamflow.bus.event import plain_event
    from streamflow.bus.topics import events_topic
    from streamflow.runtime.bus_reader import BusReader

    async with BusReader(settings, events_topic(settings)) as reader:
        begins, ends = await reader.begins(), await reader.ends()
        async for batch in reader.read(begins, ends if upto is None else upto):
            for record in batch:
                table.add(plain_event(record.value))
    return table.encode()
