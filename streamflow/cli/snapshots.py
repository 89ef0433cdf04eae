"""streamflow snapshots: the state of a topology, kept, and runs that go on from it; through any of its workers."""

from typing import Annotated

import typer

from streamflow.bus.control import Wish
from streamflow.cli import control
from streamflow.cli.client import URL, Url, ask, post
from streamflow.cli.connect import connect
from streamflow.cli.show import AsJson, console, moment, print_json, print_table, refusals

snapshots = typer.Typer(help="Snapshots: the state of a topology, kept and restored.", no_args_is_help=True)

Topology = Annotated[str, typer.Argument(help="name of the topology")]
#: Gigabytes take minutes.
_PATIENCE_S = 3_600
#: How long all tasks are waited for, to pause and to go on.
_PAUSE_S = 60.0


@snapshots.command("list")
def list_(topology: Topology, url: Url = URL, as_json: AsJson = False) -> None:
    """Show what is kept, the oldest first."""
    with refusals(), connect(url) as client:
        answer = ask(client, f"/v1/topologies/{topology}/snapshots", {})
    if as_json:
        print_json(answer)
        return
    rows = [
        [each["id"], moment(each["at"]), each["actor"], each["tasks"], each["records"], each["bytes"]]
        for each in answer["snapshots"]
    ]
    print_table(f"snapshots of {topology}", ["id", "taken", "by", "tasks", "records", "bytes"], rows)


@snapshots.command()
def take(
    topology: Topology,
    pause: Annotated[bool, typer.Option("--pause", help="pause it for that if it runs, and resume it then")] = False,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Keep the state of a topology that is paused or stopped."""
    path, why = f"/v1/topologies/{topology}", "a snapshot is taken"
    with refusals(), connect(url, _PATIENCE_S) as client:
        paused: int | None = None  # version of the order, if it came from here
        standing = ask(client, f"{path}/state", {})
        if pause and standing["wish"] == Wish.RUN:
            standing = control.ordered(client, "pause", topology, why, 0, version=standing["version"])
            paused = standing["version"] if standing["wish"] == Wish.PAUSE else None
        try:
            if paused is not None:
                control.ordered(client, "pause", topology, why, _PAUSE_S, version=paused)
            _, answer = post(client, f"{path}/snapshots", {}, {})
        finally:
            if paused is not None:
                control.ordered(client, "resume", topology, "the snapshot is taken", _PAUSE_S, version=paused)
    print_json(answer) if as_json else console.print(f"{answer['id']}: {answer['records']} records", highlight=False)


@snapshots.command()
def restore(
    topology: Topology,
    snapshot: Annotated[str, typer.Argument(help="its id")],
    into: Annotated[str, typer.Option(help="name of the run that is made")],
    origin: Annotated[str, typer.Option(help="region that it was taken in, when it is not this one")] = "",
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Make a run that goes on from a snapshot; `streamflow run TOPOLOGY --into NAME` starts it."""
    with refusals(), connect(url, _PATIENCE_S) as client:
        path = f"/v1/topologies/{topology}/snapshots/{snapshot}/restore"
        _, answer = post(client, path, {}, {"into": into, "origin": origin})
    print_json(answer) if as_json else console.print(
        f"run {into} is there: streamflow run … --into {into}", highlight=False
    )
