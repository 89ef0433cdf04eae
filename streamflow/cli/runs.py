"""Which run a command is about, how it begins, the report of one that ended, and `streamflow reset`."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.bus.event_types import EventType, Severity
from streamflow.cli.emitting import command_events
from streamflow.cli.show import EXIT_FAILED, console, error_console, print_json, print_table, refusals
from streamflow.errors import UserError
from streamflow.plan.plan import Plan
from streamflow.settings.settings import Settings, load_settings
from streamflow.topology.spec import TopologySpec

if TYPE_CHECKING:
    from streamflow.runtime.reset import Leavings
    from streamflow.runtime.run_report import RunReport
    from streamflow.runtime.runs import RunRecord

#: Name of a bounded run that was given none.
BOUNDED = "bounded"
#: Stopped before its end: the same command goes on.
EXIT_UNFINISHED = 75
#: There are dead letters, and --strict was given.
EXIT_DEAD_LETTERS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the command line names it; no name: the live one."""

    bounded: bool = False
    name: str = ""
    #: What stands behind the names of sinks and dead letters, when it is not the name.
    outputs: str = ""

    def plan(self, spec: TopologySpec) -> Plan:
        """The plan it runs. Raises TopologyError, UserError."""
        from streamflow.plan.planner import make_plan
        from streamflow.plan.runs import bounded, into_run

        plan = make_plan(spec)
        if self.name:
            plan = into_run(plan, self.name, outputs=self.outputs)
        return bounded(plan) if self.bounded else plan

    def options(self) -> list[str]:
        """The same for a worker's command line."""
        outputs = ["--outputs", self.outputs] if self.outputs else []
        return [*(["--bounded"] if self.bounded else []), *(["--into", self.name] if self.name else []), *outputs]


LIVE = Run()


def round_of(name: str, number: int) -> Run:
    """A round of a run with a schedule."""
    return Run(bounded=True, name=f"{name}-{number}", outputs=name)


def begin_run(plan: Plan, settings: Settings, start: str | None, end: str | None, which: Run) -> "RunRecord | None":
    """Write down where the run begins and ends, or find it written; None for the live run as it always goes on."""
    from streamflow.runtime.runs import begin

    if which == LIVE and start is None:
        return None
    return asyncio.run(begin(plan, settings, start, bounded=which.bounded, end=end))


def watching(plan: Plan, settings: Settings, record: "RunRecord | None") -> AbstractContextManager[None]:
    """Show how far a run with an end is, while it works."""
    from streamflow.cli.run_progress import RunProgress

    return nullcontext() if record is None or not record.ends else RunProgress(plan, settings, record)


async def ends_of(plan: Plan, settings: Settings) -> Mapping[tuple[str, int], int]:
    """Where a bounded run ends. Raises UserError when it has not begun."""
    from streamflow.runtime.runs import read_record

    record = await read_record(plan, settings)
    if record is None or not record.ends:
        raise UserError(f"run {plan.identity} has not begun: start it with `streamflow run --bounded`")
    return record.ends


def report_run(
    plan: Plan, settings: Settings, record: "RunRecord", took_s: float, *, strict: bool, as_json: bool
) -> int:
    """Print the report of a bounded run; the exit code."""
    from streamflow.runtime.run_report import report

    found = asyncio.run(report(plan, settings, record, took_s))
    print_json(found.as_json()) if as_json else _print(found)
    if not found.completed:
        error_console.print("the run was stopped before its end; the same command goes on")
        return EXIT_UNFINISHED
    return EXIT_DEAD_LETTERS if strict and found.dead_letters else 0


def _print(found: "RunReport") -> None:
    rows = [
        [each.stage, each.node, each.rows_in, each.rows_out, each.rows_late, each.rows_dead] for each in found.nodes
    ]
    print_table(f"{found.topology}, run {found.run}", ["stage", "node", "in", "out", "late", "dead"], rows)
    if found.tables:
        tables = [[each.table, each.results, each.topic] for each in found.tables]
        print_table("tables", ["table", "results", "topic"], tables)
    letters = ", ".join(f"{count} {reason}" for reason, count in found.dead_letters.items()) or "none"
    read = sum(int(each["end"]) - int(each["start"]) for each in found.sources)
    console.print(f"from {found.start}: {read} offsets in {found.took_s:.1f} s; dead letters: {letters}")


def reset(
    topology: Annotated[Path, typer.Argument(help="folder or file of the topology")],
    into: Annotated[str, typer.Option(help="the run to forget; the live one when left out")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="folder for state; STREAMFLOW_STATE_DIR")] = None,
) -> None:
    """Forget a run: its offsets, internal topics and state, so that it can begin anew. Lists all, and asks."""
    from streamflow.runtime.reset import find
    from streamflow.runtime.rounds import with_rounds
    from streamflow.topology.load import load_topology

    with refusals():
        settings, spec = load_settings(brokers=brokers, state_dir=state_dir), load_topology(topology)
        plan = Run(name=into).plan(spec)
        found = asyncio.run(find(plan, settings))
        if into:
            found = asyncio.run(with_rounds(found, lambda number: round_of(into, number).plan(spec), settings))
        if not found:
            console.print(f"nothing is left of {plan.identity}")
            return
        rows = [["topic", name] for name in found.topics] + [["group", name] for name in found.groups]
        rows += [["folder", str(path)] for path in found.folders]
        print_table(f"to be deleted of {plan.identity}", ["what", "name"], rows)
        if not yes and not typer.confirm("Delete all of this?"):
            raise typer.Exit(EXIT_FAILED)
        asyncio.run(_forget(plan, found, settings))
        console.print(f"{plan.identity} begins anew at its next start")


async def _forget(plan: Plan, found: "Leavings", settings: Settings) -> None:
    from streamflow.runtime.reset import delete

    async with command_events(settings) as events:
        await delete(found, settings)
        gone = {"run": plan.run, "topics": found.topics, "groups": found.groups}
        events.emit(EventType.RUN_RESET, plan.topology, gone, severity=Severity.WARNING)
