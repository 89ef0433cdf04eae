"""streamflow pause, resume, stop, cancel, state: orders to a running topology, through any of its workers."""

import getpass
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer

from streamflow.cli.client import URL, Url, ask
from streamflow.cli.connect import connect
from streamflow.cli.show import EXIT_FAILED, console, error_console, print_json, refusals

Topology = Annotated[str, typer.Argument(help="name of the topology")]
Reason = Annotated[str, typer.Option(help="why, for everybody who looks")]
Actor = Annotated[str | None, typer.Option(help="who gives the order; your user name when left out")]
Wait = Annotated[float, typer.Option(min=0, help="seconds to wait until every task has obeyed; 0 does not wait")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]
#: What one request waits.
_STEP_S = 10.0


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
    deadline = time.monotonic() + wait_s
    body = {"actor": getpass.getuser() if actor is None else actor, "reason": reason}
    with refusals(), connect(url, 60) as client:
        while True:
            # The order that holds is not given again: asking once more only waits.
            step_ms = int(max(0.0, min(_STEP_S, deadline - time.monotonic())) * 1_000)
            try:
                response = client.post(f"/v1/topologies/{topology}/{verb}?timeout_ms={step_ms}", json=body)
            except httpx.HTTPError as error:
                error_console.print(f"[red]✗[/] {url} does not answer: {error}", highlight=False)
                raise typer.Exit(EXIT_FAILED) from error
            answer: dict[str, Any] = response.json()
            if response.status_code >= 400:
                error_console.print(f"[red]✗[/] {answer.get('title')}: {answer.get('detail')}", highlight=False)
                raise typer.Exit(EXIT_FAILED)
            if response.status_code == 200 or time.monotonic() >= deadline:
                break
    _show(topology, answer, as_json=as_json)
    if response.status_code == 202 and wait_s > 0:
        raise typer.Exit(EXIT_FAILED)


def _show(topology: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    said = f"{topology} is {answer['state']}, run {answer['run']}"
    if answer["at"]:
        at = datetime.fromtimestamp(answer["at"] / 1_000, UTC).isoformat(timespec="seconds")
        said += f"; {answer['wish']} ordered by {answer['actor'] or 'unknown'} at {at}"
        said += f": {answer['reason']}" if answer["reason"] else ""
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    if answer["waiting_for"]:
        console.print(f"waiting for {', '.join(answer['waiting_for'])}", highlight=False, markup=False, soft_wrap=True)
