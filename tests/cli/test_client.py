"""Publishing from the command line: requests that fit, and patience."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from streamflow.cli.client import BATCH_BYTES, BATCH_EVENTS, ask, batches, post
from streamflow.cli.connect import between_workers
from streamflow.cli.main import app
from streamflow.cli.show import print_table
from tests.web.workers import HOUR_MS, PARTITIONS, TABLE, keys_of, workers


def test_lines_are_grouped_by_number_and_by_bytes_and_none_is_left_out() -> None:
    small = [b"%d" % number for number in range(2 * BATCH_EVENTS + 1)]
    assert [len(batch) for batch in batches(small)] == [BATCH_EVENTS, BATCH_EVENTS, 1]
    large = [b"x" * (BATCH_BYTES // 3)] * 5 + [b"y" * (2 * BATCH_BYTES)] + [b"z"]
    groups = list(batches(large))
    assert [line for group in groups for line in group] == large
    assert [len(group) for group in groups] == [2, 2, 1, 1, 1]
    assert list(batches([])) == []


def test_a_refusal_is_shown_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    def query(url: str) -> None:
        with httpx.Client(base_url=url) as client, pytest.raises(typer.Exit):
            ask(client, TABLE, {"from": "[/soon]"})

    async def main() -> None:
        async with workers(1) as (one,):
            await asyncio.to_thread(query, one.url)

    asyncio.run(main())
    assert "'[/soon]' is no time" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<p>nobody is there</p>", b'["nobody is there"]', b""])
def test_an_answer_of_somebody_else_is_shown(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    def proxy(_environ: Any, start: Any) -> list[bytes]:
        start("502 Bad Gateway", [])
        return [body]

    with httpx.Client(transport=httpx.WSGITransport(proxy), base_url="http://proxy") as client:
        for asking in (lambda: ask(client, TABLE, {}), lambda: post(client, TABLE, {}, {})):
            with pytest.raises(typer.Exit):
                asking()
            said = capsys.readouterr().err
            assert "status 502" in said
            assert not body or "nobody is there" in said


def test_a_table_shows_what_strangers_have_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("found", ["key", "value"], [["[/red]", "\x1b[2Jgone"]])
    shown = capsys.readouterr().out
    assert "[/red]" in shown
    assert "\ufffd[2Jgone" in shown


@pytest.mark.parametrize("table", ["t/hourly", "hourly"])
def test_a_table_is_named_with_or_without_its_topology(table: str) -> None:
    async def main() -> str:
        async with workers(1) as (one,):
            arguments = ["query", table, "--url", one.url, "--json"]
            asked = await asyncio.to_thread(CliRunner().invoke, app, arguments)
            assert asked.exit_code == 0, asked.output
            return asked.output

    assert '"rows"' in asyncio.run(main())


def test_workers_ask_one_another_without_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> None:
        async with workers(1) as (one,), between_workers(None, httpx.Limits()) as client:
            assert (await client.get(one.url + TABLE)).status_code == 200

    asyncio.run(main())


def test_a_table_shows_what_strangers_wrote_and_does_nothing_that_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("a [link=x]title[/link]", ["key"], [["[red]shop[/]"], ["\x1b]0;mine\x07\x9b2J\u202e"], ["two\nlines"]])
    said = capsys.readouterr().out
    assert "[link=x]" in said
    assert "[red]shop[/]" in said
    assert not set("\x1b\x07\x9b\u202e") & set(said)
    assert "two" in said.splitlines()[-3]


def test_a_table_leaves_nothing_out_and_an_empty_one_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    name, row = "3-1a200f1838a97758c2ce5c49eaf", {"n": None, "shop": "rome " * 60}
    print_table("waiting", ["id", "row", "until"], [[name, row, None]])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if name in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[0] == name
    assert json.loads(cells[1]) == row
    assert cells[2] == ""
    print_table("waiting", ["id"], [])
    assert capsys.readouterr().out == "waiting: none\n"


def test_all_rows_come_page_by_page_a_line_each() -> None:
    rows = {(hour * HOUR_MS, keys_of(0, 1)[0]): hour + 1 for hour in range(2_500)}

    async def main() -> str:
        async with workers(1) as (one,):
            one.hold(0, rows)
            for partition in range(1, PARTITIONS):
                one.hold(partition, {})
            asked = await asyncio.to_thread(CliRunner().invoke, app, ["query", "t/hourly", "--all", "--url", one.url])
            assert asked.exit_code == 0, asked.output
            return asked.output

    found = [json.loads(line) for line in asyncio.run(main()).splitlines()]
    assert {(row["start"], row["key"]): row["value"]["n"] for row in found} == rows
    assert len(found) == len(rows)
