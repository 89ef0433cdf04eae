"""streamflow pause, resume, stop, cancel, state: orders to a running topology, through any of its workers."""

import getpass
import time
from typing import Annotated, Any

import httpx
import typer

from streamflow.cli.client import URL, Url, ask, post
from streamflow.cli.connect import connect
from streamflow.cli.show import EXIT_FAILED, AsJson, console, moment, print_json, refusals

Topology = Annotated[str, typer.Argument(help="name of the topology")]
Reason = Annotated[str, typer.Option(help="why, for everybody who looks")]
Actor = Annotated[str | None, typer.Option(help="who gives the order; your user name when left out")]
Wait = Annotated[float, typer.Option(min=0, help="seconds to wait until every task has obeyed; 0 does not wait")]
#: What the order itself waits, and the pause between looks afterwards.
_STEP_S, _LOOK_S = 10.0, 0.3


def pause(
    topology: Topology,
    reason: Reason = "",
    actor: Actor = None,
    wait: Wait = 60.0,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Commit what is done and read no more, on all workers, until `resume`."""
    _order("pause", topology, reason, actor, wait, url, as_json=as_json)


def resume(
    topology: Topology,
    reason: Reason = "",
    actor: Actor = None,
    wait: Wait = 60.0,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Go on after a pause, or begin another run after a stop or cancel."""
    _order("resume", topology, reason, actor, wait, url, as_json=as_json)


def stop(
    topology: Topology,
    reason: Reason = "",
    actor: Actor = None,
    wait: Wait = 60.0,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Drain: read no more from the sources, work off and commit what was taken in."""
    _order("stop", topology, reason, actor, wait, url, as_json=as_json)


def cancel(
    topology: Topology,
    reason: Reason = "",
    actor: Actor = None,
    wait: Wait = 60.0,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """End at once at every node; what is done is committed, what lies between nodes stays there."""
    _order("cancel", topology, reason, actor, wait, url, as_json=as_json)


def state(topology: Topology, url: Url = URL, as_json: AsJson = False) -> None:
    """Show the state of a topology, who ordered it, and why."""
    with refusals(), connect(url) as client:
        answer = ask(client, f"/v1/topologies/{topology}/state", {})
    _show(topology, answer, as_json=as_json)


def _order(verb: str, topology: str, reason: str, actor: str | None, wait_s: float, url: str, *, as_json: bool) -> None:
    with refusals(), connect(url, 60) as client:
        answer = ordered(client, verb, topology, reason, wait_s, actor=actor)
    _show(topology, answer, as_json=as_json)
    if answer["waiting_for"] and wait_s > 0:
        raise typer.Exit(EXIT_FAILED)


def ordered(
    client: httpx.Client,
    verb: str,
    topology: str,
    reason: str,
    wait_s: float,
    *,
    actor: str | None = None,
    version: int | None = None,
) -> dict[str, Any]:
    """Give an order and wait until it is obeyed, or the time is over; how it stands then. A refusal ends the command.

    version: of the order that it is based on, if it is to be refused when another one came since.
    """
    deadline = time.monotonic() + wait_s
    body = {"actor": getpass.getuser() if actor is None else actor, "reason": reason, "version": version}
    path = f"/v1/topologies/{topology}"
    _, answer = post(client, f"{path}/{verb}", {"timeout_ms": str(int(min(_STEP_S, wait_s) * 1_000))}, body)
    given = answer["version"]
    while answer["waiting_for"] and answer["version"] == given and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        answer = ask(client, f"{path}/state", {})
    return answer


def _show(topology: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    said = f"{topology} is {answer['state']}, run {answer['run']}"
    if answer["at"]:
        at = moment(answer["at"])
        said += f"; {answer['wish']} ordered by {answer['actor'] or 'unknown'} at {at}"
        said += f": {answer['reason']}" if answer["reason"] else ""
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    if answer["waiting_for"]:
        console.print(f"waiting for {', '.join(answer['waiting_for'])}", highlight=False, markup=False, soft_wrap=True)
