"""streamflow dlq: list, show, edit, redrive and discard dead letters, through a running worker."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.progress import Progress

from streamflow.cli.client import URL, Url, answer_of
from streamflow.cli.connect import connect
from streamflow.cli.show import EXIT_FAILED, AsJson, console, error_console, plain, print_json, print_table, text
from streamflow.query.why_text import moment

Topology = Annotated[str, typer.Argument(help="name of the topology")]
Number = Annotated[int, typer.Argument(min=0, help="id of the letter")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, as often as needed, all must fit: id, node, reason, class, key, topic, partition, offset, "
        "from, to (time of the letter, ms or ISO 8601), state (waiting, edited, redriven, discarded)"
    ),
]
All = Annotated[bool, typer.Option("--all", help="every letter that waits")]
Comment = Annotated[str, typer.Option(help="why")]

_PAGE = 500

dlq = typer.Typer(help="Dead letters: look at them, mend them, send them again.", no_args_is_help=True)


@dlq.command("list")
def list_letters(
    topology: Topology,
    where: Where = None,
    limit: Annotated[int, typer.Option(min=1, help="letters at most")] = 50,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first."""
    letters: list[dict[str, Any]] = []
    with connect(url) as client:
        for page in _pages(client, "GET", _path(topology), _wanted(where) | {"limit": min(limit, _PAGE)}):
            letters += page["letters"]
            if len(letters) >= limit:
                break
    letters = letters[:limit]
    if as_json:
        print_json(letters)
        return
    columns = ["id", "state", "time", "node", "reason", "attempts", "waiting", "from", "key", "error"]
    rows = [
        [
            *(each["id"], each["state"], moment(each["time"]), each["node"], each["reason"], each["attempts"]),
            *(_waiting(each["parked"]), _place(each["source"]), each["key"] or "", each["error"]),
        ]
        for each in letters
    ]
    print_table(f"dead letters of {topology}", columns, rows)


@dlq.command()
def show(topology: Topology, number: Number, url: Url = URL, as_json: AsJson = False) -> None:
    """Show one letter whole: the event as it came and as edited, the error with its stack, what was decided."""
    with connect(url) as client:
        letter = _ask(client, "GET", f"{_path(topology)}/{number}", {})
    if as_json:
        print_json(letter)
        return
    stack, headers = letter.pop("stack"), letter.pop("headers")
    for name, value in [*letter.items(), *headers.items()]:
        console.print(f"{name:>18}  {text(value)}", highlight=False, markup=False, soft_wrap=True)
    for frame in stack:
        console.print(f"{'':>18}  {frame}", highlight=False, markup=False, soft_wrap=True)


@dlq.command()
def edit(
    topology: Topology,
    number: Number,
    file: Annotated[Path | None, typer.Argument(help="the event as JSON; standard input when left out")] = None,
    comment: Comment = "",
    url: Url = URL,
) -> None:
    """Keep another event beside the original, for the next redrive."""
    body = file.read_bytes() if file else sys.stdin.buffer.read()
    with connect(url) as client:
        _ask(client, "PUT", f"{_path(topology)}/{number}/value", {"comment": comment}, body)
    console.print(f"letter {number} is edited")


@dlq.command()
def redrive(
    topology: Topology,
    where: Where = None,
    everything: All = False,
    per_s: Annotated[float, typer.Option(min=0.1, help="events per second at most")] = 100,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Send letters that wait to where they came from, oldest first, each once, however often this is repeated."""
    _decide(topology, "redrive", _wanted(where) | {"all": everything, "per_s": per_s}, url, as_json)


@dlq.command()
def discard(
    topology: Topology,
    where: Where = None,
    everything: All = False,
    comment: Comment = "",
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Mark letters that wait as not needed. Nothing is deleted."""
    _decide(topology, "discard", _wanted(where) | {"all": everything, "comment": comment}, url, as_json)


def _decide(topology: str, what: str, parameters: dict[str, Any], url: str, as_json: bool) -> None:
    count, refused = 0, []
    with connect(url) as client, Progress(console=error_console) as progress:
        bar = progress.add_task(what, total=None)
        for page in _pages(client, "POST", f"{_path(topology)}/{what}", parameters | {"limit": _PAGE}):
            count += page["count"]
            refused += page["refused"]
            progress.advance(bar, page["count"])
    if as_json:
        print_json({"count": count, "refused": refused})
    else:
        for each in refused[:20]:
            error_console.print(f"letter {each['id']}: {each['reason']}", highlight=False)
        console.print(f"{count} letters: {what} done, {len(refused)} refused")
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _wanted(where: list[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in where or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"{each!r}: write NAME=VALUE, such as reason=decode", param_hint="--where")
        found.setdefault(name, []).append(value)
    return found


def _waiting(parked: dict[str, Any] | None) -> str:
    """Events that wait behind a letter; empty where no key does."""
    return "" if parked is None else "?" if parked["waiting"] is None else str(parked["waiting"])


def _place(source: dict[str, Any] | None) -> str:
    return f"{source['topic']}/{source['partition']}:{source['offset']}" if source else ""


def _path(topology: str) -> str:
    return f"/v1/topologies/{quote(topology, safe='')}/dead-letters"


def _pages(client: httpx.Client, method: str, path: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        page = _ask(client, method, path, parameters | ({"cursor": cursor} if cursor else {}))
        yield page
        cursor = page["cursor"]
        if cursor is None:
            return


def _ask(
    client: httpx.Client, method: str, path: str, parameters: dict[str, Any], body: bytes | None = None
) -> dict[str, Any]:
    try:
        response = client.request(method, path, params=parameters, content=body)
    except httpx.HTTPError as error:
        remedy = "repeat the command: what is done is not done again"
        error_console.print(f"[red]✗[/] {client.base_url} does not answer: {error}; {remedy}", highlight=False)
        raise typer.Exit(EXIT_FAILED) from error
    answer = answer_of(response)
    if response.status_code >= 400:
        said = plain(f"{answer.get('title')}: {answer.get('detail')}")
        error_console.print(f"[red]✗[/] {said}", highlight=False)
        raise typer.Exit(EXIT_FAILED)
    return answer
