"""streamflow executions: what became of events that have an id, and how they walked through the graph."""

import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from streamflow.bus.states import State
from streamflow.cli.client import URL, Url, ask, post
from streamflow.cli.connect import connect
from streamflow.cli.show import AsJson, console, plain, print_json, print_table, refusals

executions = typer.Typer(help="Executions: events that have an id, node by node.", no_args_is_help=True)


@executions.command("list")
def list_(
    topology: Annotated[str, typer.Option(help="of this topology")] = "",
    state: Annotated[State | None, typer.Option(help="in this state")] = None,
    key: Annotated[str | None, typer.Option(help="of events with this key")] = None,
    since: Annotated[str, typer.Option(help="begun not before, UTC")] = "",
    until: Annotated[str, typer.Option(help="begun before, UTC")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 100,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show executions, the latest begun first."""
    given = {"topology": topology, "state": state and state.value, "key": key, "since": since, "until": until}
    parameters = {name: value for name, value in given.items() if value} | {"limit": str(limit)}
    with refusals(), connect(url) as client:
        answer = ask(client, "/v1/executions", parameters)
    if as_json:
        print_json(answer)
        return
    columns = ["id", "topology", "key", "state", "started", "ended", "reason"]
    rows = [[each[name] for name in columns] for each in answer["executions"]]
    print_table("executions", columns, rows)
    if answer["cursor"]:
        console.print("there are more: raise --limit, or narrow it down")


@executions.command()
def show(
    execution: Annotated[str, typer.Argument(help="its id")],
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show the timeline of one execution."""
    with refusals(), connect(url) as client:
        row = ask(client, f"/v1/executions/{quote(execution, safe='')}", {})
    if as_json:
        print_json(row)
        return
    end = f", {row['reason']}" if row["reason"] else ""
    console.print(f"{plain(row['id'])} of {row['topology']}: {row['state']}{plain(end)}", highlight=False)
    console.print(
        f"began {row['started']}, ended {row['ended'] or 'not yet'}, attempt {row['attempt']}", highlight=False
    )
    columns = ["node", "state", "since", "attempt", "µs", "in", "out", "reason"]
    print_table("nodes", columns, [_node(each) for each in row["nodes"]])


@executions.command()
def cancel(
    execution: Annotated[str, typer.Argument(help="its id")],
    reason: Annotated[str, typer.Option(help="why, for everybody who looks")] = "",
    actor: Annotated[str | None, typer.Option(help="who says it; your user name when left out")] = None,
    wait_s: Annotated[float, typer.Option(min=0, max=30, help="seconds to wait until it has ended")] = 10,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """End one execution at all nodes, wherever its rows are."""
    body = {"actor": getpass.getuser() if actor is None else actor, "reason": reason}
    path, wait = f"/v1/executions/{quote(execution, safe='')}/cancel", {"timeout_ms": str(round(wait_s * 1_000))}
    with refusals(), connect(url) as client:
        _, answer = post(client, path, wait, body)
    if as_json:
        print_json(answer)
    else:
        console.print(f"{plain(answer['id'])} is {answer['state']}", highlight=False)


def _node(node: dict[str, Any]) -> list[Any]:
    counts = [node.get(name, "") for name in ("took_us", "rows_in", "rows_out")]
    reason = ": ".join(node[name] for name in ("reason", "error") if node.get(name))
    return [node["node"], node["state"], node["moves"][-1][1], node.get("attempt", 1), *counts, reason]
