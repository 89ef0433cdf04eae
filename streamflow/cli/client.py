"""streamflow publish, query, why, tail: clients of a running worker's HTTP, and of Kafka."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import Progress

from streamflow.cli.connect import connect
from streamflow.cli.show import EXIT_FAILED, AsJson, console, error_console, plain, print_json, print_table
from streamflow.settings.settings import Settings, load_settings

Url = Annotated[str, typer.Option(envvar="STREAMFLOW_URL", help="a worker's address")]
URL = "http://127.0.0.1:8080"
#: What a request may have, see the settings BATCH_MAX_EVENTS and BODY_MAX_BYTES.
BATCH_EVENTS, BATCH_BYTES = 1_000, 1 << 20
#: How long a worker that asks for patience gets it.
_PATIENCE_S = 60.0
#: Of an answer that is no worker's.
_SAID_CHARS = 300


def publish(
    topic: Annotated[str, typer.Argument(help="source topic")],
    file: Annotated[Path | None, typer.Argument(help="NDJSON file; standard input when left out")] = None,
    key: Annotated[str | None, typer.Option(help="key of all events")] = None,
    priority: Annotated[str | None, typer.Option(help="level of the source, to go before others")] = None,
    url: Url = URL,
) -> None:
    """Publish events, one JSON object per line."""
    given = {"key": key, "priority": priority}
    parameters = {name: value for name, value in given.items() if value is not None}
    lines = (file.read_bytes() if file else sys.stdin.buffer.read()).splitlines()
    accepted, rejected, start = 0, 0, 0
    with connect(url) as client, Progress(console=error_console) as progress:
        bar = progress.add_task(topic, total=len(lines))
        for batch in batches(lines):
            answer = ask(client, f"/v1/topics/{topic}/events", parameters, b"\n".join(batch))
            accepted += answer["accepted"]
            rejected += len(answer["rejected"])
            for each in answer["rejected"][:5]:
                error_console.print(
                    f"line {start + each['index'] + 1}: {each['reason']}: {each['message']}", highlight=False
                )
            start += len(batch)
            progress.advance(bar, len(batch))
    console.print(f"{accepted} accepted, {rejected} rejected")
    if rejected:
        raise typer.Exit(EXIT_FAILED)


def batches(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Lines in groups that fit into one request each; a line beyond the bound goes alone, to be refused by name."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH_EVENTS or size + len(line) + 1 > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield batch


def post_events(client: httpx.Client, path: str, parameters: dict[str, str], body: bytes) -> httpx.Response:
    """Publish lines; waits and tries again, 60 s at most, when the worker says when to come back (429, 503)."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        answer = client.post(path, params=parameters, content=body, headers={"content-type": "application/x-ndjson"})
        wait_s = answer.headers.get("retry-after")
        if answer.status_code not in (429, 503) or wait_s is None or time.monotonic() > deadline:
            return answer
        time.sleep(float(wait_s))


def query(
    table: Annotated[str, typer.Argument(help="table, or topology/table")],
    key: Annotated[str | None, typer.Option(help="one key")] = None,
    start: Annotated[str | None, typer.Option("--from", help="first window start")] = None,
    to: Annotated[str | None, typer.Option(help="window starts before this")] = None,
    state: Annotated[str, typer.Option(help="open, final or latest")] = "latest",
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20,
    everything: Annotated[bool, typer.Option("--all", help="all rows, a line of JSON each, as they come")] = False,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Query a table."""
    topology, _, name = table.rpartition("/")
    given = {"key": key, "from": start, "to": to, "state": state, "limit": limit}
    parameters = {each: str(value) for each, value in given.items() if value is not None}
    with connect(url) as client:
        topology = topology or ask(client, "/v1/topologies", {})["topologies"][0]["name"]
        path = f"/v1/topologies/{topology}/tables/{name}"
        if everything:
            _print_all(client, path, parameters | {"limit": "1000"})
            return
        answer = ask(client, path, parameters)
    if as_json:
        print_json(answer)
        return
    names = sorted({each for row in answer["rows"] for each in row["value"]})
    rows = [
        [row["key"], row.get("start", ""), row["final"], *(row["value"].get(n, "") for n in names)]
        for row in answer["rows"]
    ]
    print_table(table, ["key", "start", "final", *names], rows)
    console.print(f"watermark {answer['watermark']}, served by {', '.join(answer['served_by'])}")
    if answer["cursor"]:
        console.print("there are more: raise --limit, narrow it down, or take --all")


def _print_all(client: httpx.Client, path: str, parameters: dict[str, str]) -> None:
    """Page by page, so that neither side holds more than a page."""
    while True:
        answer = ask(client, path, parameters)
        for row in answer["rows"]:
            typer.echo(json.dumps(row, ensure_ascii=False))
        if not answer["cursor"]:
            return
        parameters["cursor"] = answer["cursor"]


def why(
    topology: Annotated[str, typer.Argument(help="name of the topology")],
    table: Annotated[str, typer.Argument(help="one of its windowed tables")],
    key: Annotated[str, typer.Option(help="the key")],
    window: Annotated[
        str | None, typer.Option(help="a moment in the window, ms or ISO 8601; the first open one when left out")
    ] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Say why a window has not closed: who holds it, since when, and when it will close."""
    parameters = {"key": key} | ({} if window is None else {"window": window})
    with connect(url) as client:
        answer = ask(client, f"/v1/topologies/{topology}/tables/{table}/why", parameters)
    if as_json:
        print_json(answer)
        return
    for sentence in answer["sentences"]:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if answer["picture"]:
        console.print("\n" + answer["picture"], highlight=False, markup=False, soft_wrap=True)


def ask(client: httpx.Client, path: str, parameters: dict[str, str], body: bytes | None = None) -> dict[str, Any]:
    """JSON of a worker's answer: a GET, or a POST of lines. A refusal is printed and ends the command with 1."""
    try:
        if body is not None:
            response = post_events(client, path, parameters, body)
        else:
            response = client.get(path, params=parameters)
    except httpx.HTTPError as error:
        error_console.print(f"[red]✗[/] {client.base_url} does not answer: {error}", highlight=False)
        raise typer.Exit(EXIT_FAILED) from error
    answer = answer_of(response)
    if response.status_code >= 400 and "accepted" not in answer:
        said = plain(f"{answer.get('title')}: {answer.get('detail')}")
        error_console.print(f"[red]✗[/] {said}", highlight=False)
        raise typer.Exit(EXIT_FAILED)
    return answer


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """What a worker answered. Others, such as a proxy before it, answer otherwise, which ends the command with 1."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        said = f"{response.url} is no worker's: status {response.status_code}, {response.text[:_SAID_CHARS]!r}"
        error_console.print(f"[red]✗[/] {plain(said)}", highlight=False)
        raise typer.Exit(EXIT_FAILED)
    return answer


def post(
    client: httpx.Client, path: str, parameters: dict[str, str], body: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a worker's answer to a POST of JSON. A refusal is printed and ends the command with 1."""
    return request(client, "POST", path, parameters, body)


def request(
    client: httpx.Client,
    method: str,
    path: str,
    parameters: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """The same with any method."""
    try:
        response = client.request(method, path, params=parameters, json=body)
    except httpx.HTTPError as error:
        error_console.print(f"[red]✗[/] {client.base_url} does not answer: {error}", highlight=False)
        raise typer.Exit(EXIT_FAILED) from error
    answer = answer_of(response)
    if response.status_code >= 400:
        said = plain(f"{answer.get('title')}: {answer.get('detail')}")
        error_console.print(f"[red]✗[/] {said}", highlight=False)
        raise typer.Exit(EXIT_FAILED)
    return response.status_code, answer


def tail(
    topic: Annotated[str, typer.Argument(help="topic to follow")],
    beginning: Annotated[bool, typer.Option("--from-beginning", help="everything that is there")] = False,
    limit: Annotated[int, typer.Option(min=0, help="end after so many records; 0 goes on")] = 0,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
) -> None:
    """Follow a topic, committed records only."""
    asyncio.run(_tail(load_settings(brokers=brokers), topic, beginning, limit))


async def _tail(settings: Settings, topic: str, beginning: bool, limit: int) -> None:
    from streamflow.runtime.tail import follow

    seen = 0
    async for record in follow(settings, topic, beginning):
        key = (record.key or b"").decode(errors="replace")
        value = (record.value or b"").decode(errors="replace")
        typer.echo(f"{record.offset}\t{key}\t{value}")
        seen += 1
        if seen == limit:
            return
