"""streamflow approvals: what waits for people, and deciding about it."""

import getpass
from typing import Annotated

import typer

from streamflow.cli.client import URL, Url, ask, post
from streamflow.cli.connect import connect
from streamflow.cli.show import AsJson, console, moment, print_json, print_table, refusals
from streamflow.model.approval import Word

approvals = typer.Typer(help="Rows that wait for people.", no_args_is_help=True)

Topology = Annotated[str, typer.Argument(help="name of the topology")]
Node = Annotated[str | None, typer.Option(help="the approval; may be left out when there is one only")]


@approvals.command("list")
def list_(
    topology: Topology,
    node: Node = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 100,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Show what waits: the row, who may decide, what was said, and until when."""
    parameters = {"limit": str(limit)} | ({"node": node} if node else {})
    with refusals(), connect(url) as client:
        answer = ask(client, f"/v1/topologies/{topology}/approvals", parameters)
    if as_json:
        print_json(answer)
        return
    rows = [
        [
            each["id"],
            each["key"],
            each["row"],
            moment(each["deadline"]),
            ", ".join(each["approvers"]) or "anybody",
            ", ".join(f"{vote['actor']}: {vote['decision']}" for vote in each["votes"]),
        ]
        for each in answer["approvals"]
    ]
    print_table(f"waiting in {topology}", ["id", "key", "row", "until", "approvers", "said"], rows)
    if answer["cursor"]:
        console.print("there are more: raise --limit")


@approvals.command()
def decide(
    topology: Topology,
    approval: Annotated[str, typer.Argument(help="id of what waits")],
    decision: Annotated[Word, typer.Argument(help="approve, reject, or delegate")],
    actor: Annotated[str | None, typer.Option(help="who decides; your user name when left out")] = None,
    comment: Annotated[str | None, typer.Option(help="why")] = None,
    to: Annotated[str | None, typer.Option(help="whom to ask instead")] = None,
    node: Node = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Approve or reject a row that waits, or have somebody else asked instead of you."""
    body = {"decision": decision.value, "actor": getpass.getuser() if actor is None else actor}
    body |= {name: value for name, value in (("comment", comment), ("to", to)) if value is not None}
    path = f"/v1/topologies/{topology}/approvals/{approval}/decide"
    with refusals(), connect(url) as client:
        status, answer = post(client, path, {"node": node} if node else {}, body)
    if as_json:
        print_json(answer)
    elif status == 202:
        console.print("it is said, and will take effect")
    elif answer["waits"] is None:
        console.print("decided: the row went on")
    else:
        console.print(f"still waits for {', '.join(answer['waits']['approvers']) or 'others'}", highlight=False)
