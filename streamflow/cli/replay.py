"""streamflow replay: what replays into runs of their own are for."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.runs import Run
from streamflow.cli.show import EXIT_FAILED, AsJson, console, print_json, print_table, refusals
from streamflow.settings.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamflow.plan.plan import Plan
    from streamflow.runtime.comparing import Difference

replay = typer.Typer(help="Replays: `run --bounded --from … --to … --into NAME`, compared.", no_args_is_help=True)
#: How the live run is named here.
LIVE = "live"


@replay.callback()
def _only_subcommands() -> None:
    """Replays."""


@replay.command()
def compare(
    topology: Annotated[Path, typer.Argument(help="folder or file of the topology")],
    first: Annotated[str, typer.Argument(help="name of a run; live for the one without")],
    second: Annotated[str, typer.Argument(help="another")],
    by: Annotated[
        list[str] | None,
        typer.Option(help="with the key names a row, of which the last counts, such as start; as often as needed"),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="field that does not count; as often as needed")] = None,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the sinks of two runs, rows in any order; exit code 1 when they differ."""
    from streamflow.topology.load import load_topology

    with refusals():
        settings, spec = load_settings(brokers=brokers), load_topology(topology)
        one, other = (Run(name="" if name == LIVE else name).plan(spec) for name in (first, second))
        found = asyncio.run(_compared(one, other, settings, tuple(by or ()), frozenset(ignore or ())))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        rows = [[each.topics[0], *each.rows, *each.only] for each in found]
        columns = ["sink", f"rows of {first}", f"of {second}", f"only {first}", f"only {second}"]
        print_table(f"{first} and {second}", columns, rows)
        for each in found:
            for name, shown in zip((first, second), each.shown, strict=True):
                for key, row in shown:
                    console.print(f"only {name}: {key} {row}", highlight=False, markup=False, soft_wrap=True)
    if not all(each.is_same for each in found):
        raise typer.Exit(EXIT_FAILED)


async def _compared(
    one: "Plan", other: "Plan", settings: Settings, by: tuple[str, ...], ignore: frozenset[str]
) -> "list[Difference]":
    from streamflow.runtime.comparing import RowView, compare

    return await compare((one, other), settings, RowView(by, ignore))
