"""Sinks outside of Kafka in the engine: every row once, in any shape, whatever dies around a commit."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from streamflow.errors import SettingsError, SinkRefused, StateMismatch, TransactionFailed
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.sinks.sql import SqlDelivery
from streamflow.sinks.target import SqlTarget
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.document import spec_of

SINKS: dict[str, dict[str, Any]] = {
    "jsonl": {"kind": "file_sink"},
    "parquet": {"kind": "file_sink", "format": "parquet"},
    "sqlite": {"kind": "sql_sink", "url_env": "TEST_SQL_URL", "table": "sales"},
}


def document(**sink: Any) -> dict[str, Any]:
    """sales → filter → the sink, and a window beside it with another one."""
    return {
        "topology": "t",
        "schemas": {"Sale": {"time": "timestamp", "id": "int", "shop": "str", "amount": "float?", "tags": "json"}},
        "nodes": {
            "sales": {"kind": "source", "topic": "sales", "schema": "Sale", "event_time": "time", "key": "shop",
                      "future": {"limit": "1d"}},
            "wanted": {"kind": "filter", "input": "sales", "where": "id % 5 != 0"},
            "kept": {"input": "wanted"} | sink,
            "hourly": {"kind": "window", "input": "sales", "window": {"type": "tumbling", "size": "1h"},
                       "aggregate": {"n": "count()"}},
            "out": {"kind": "sink", "input": "hourly", "topic": "out"},
        },
    }  # fmt: skip


def sales(count: int) -> list[dict[str, Any]]:
    return [
        {"time": place * 60_000, "id": place, "shop": f"s{place % 7}", "amount": None if place % 3 else place / 4,
         "tags": [place, "x"]}
        for place in range(count)
    ]  # fmt: skip


def expected(count: int) -> list[tuple[Any, ...]]:
    """What the model says: rows that pass the filter, once."""
    rows = [row for row in sales(count) if row["id"] % 5]
    return sorted((row["id"], row["time"], row["shop"], row["amount"], tuple(row["tags"])) for row in rows)


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    tags = json.loads(row["tags"]) if isinstance(row["tags"], str) else row["tags"]
    time = int(row["time"].timestamp() * 1_000) if hasattr(row["time"], "timestamp") else row["time"]
    return row["id"], time, row["shop"], row["amount"], tuple(tags)


def found(name: str, folder: Path) -> list[tuple[Any, ...]]:
    """What is outside, as anybody reads it."""
    rows: list[dict[str, Any]] = []
    if name == "sqlite":
        with sqlite3.connect(folder / "db") as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM sales")]
    for path in sorted((folder / "t.kept").glob("[!.]*")) if name != "sqlite" else ():
        if path.suffix == ".parquet":
            rows += parquet.read_table(path).to_pylist()
        else:
            rows += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(map(_row, rows))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Driver]:
    monkeypatch.setenv("TEST_SQL_URL", f"sqlite:///{tmp_path / 'db'}")

    def made(sink: dict[str, Any], **shape: Any) -> Driver:
        return Driver(bounded(make_plan(spec_of(document(**sink)))), files_dir=tmp_path, **shape)

    return made


@pytest.mark.parametrize("name", SINKS)
def test_every_row_is_outside_once(name: str, driver: Callable[..., Driver], tmp_path: Path) -> None:
    shapes: list[dict[str, Any]] = [
        {"chunk_size": 1_000}, {"chunk_size": 7, "checkpoint_every": 3}, {"chunk_size": 13, "fused": False, "overlap": True},
    ]  # fmt: skip
    for shape in shapes:
        for point in (None, *CrashPoint):
            for inner in tmp_path.iterdir():
                shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
            made = driver(SINKS[name], partitions=2, **shape)
            made.crash_at = dict.fromkeys(range(2, 90, 3), point) if point else {}
            for start in range(0, 200, 50):
                made.publish("sales", sales(200)[start : start + 50])
                made.run()
            made.finish()
            assert found(name, tmp_path) == expected(200), (shape, point)
            assert sum(row["n"] for row in made.output("out")) == 200
            assert made.dead_letters() == []
            assert [each.name for each in tmp_path.rglob(".*")] == []


def test_a_file_says_which_rows_it_has(driver: Callable[..., Driver], tmp_path: Path) -> None:
    made = driver(SINKS["jsonl"], chunk_size=10)
    made.publish("sales", sales(60))
    made.run()
    ranges = []
    for path in sorted((tmp_path / "t.kept").iterdir()):
        name, partition, start, end = path.stem.rsplit("-", 3)
        assert (name, partition, path.suffix) == ("t.kept", "00000", ".jsonl")
        ranges.append((int(start), int(end)))
        records = [each for each in made.records("t.kept.feed") if int(start) <= each.offset < int(end) and each.key]
        assert len(path.read_text().splitlines()) == len(records)
    assert all(end == start for (_, end), (start, _) in pairwise(ranges))


def test_what_a_stranger_left_is_cleaned_up(driver: Callable[..., Driver], tmp_path: Path) -> None:
    """Half a file, and whole ones of an owner that was replaced before its commit."""
    made = driver(SINKS["jsonl"], chunk_size=10)
    made.publish("sales", sales(60))
    made.run()
    folder = tmp_path / "t.kept"
    last = max(int(path.stem.rsplit("-", 1)[1]) for path in folder.iterdir())
    for start, end in ((0, last), (3, 9), (last, last + 5)):
        (folder / f".t.kept-00000-{start:020}-{end:020}.ready").write_text("{}\n")
    (folder / f".t.kept-00000-{last:020}.tmp").write_text('{"id": 1')
    made.crash()
    made.publish("sales", sales(70)[60:])
    made.finish()
    assert found("jsonl", tmp_path) == expected(70)
    assert [each.name for each in folder.glob(".*")] == []


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_whatever_fits_a_schema_is_written_to_files(name: str, driver: Callable[..., Driver], tmp_path: Path) -> None:
    made = driver(SINKS[name])
    widest: list[dict[str, Any]] = [
        {"time": -(2**61), "id": -(2**63), "shop": "\0 \n \u2028 😀", "amount": 1.7e308, "tags": {"a": [None, 2**63 - 1]}},
        {"time": 0, "id": 2**63 - 2, "shop": "x" * 16_000, "amount": -5e-324, "tags": [[[[[["deep"]]]]]]},
    ]  # fmt: skip
    made.publish("sales", widest, timestamp_ms=0)
    made.finish()
    if name == "jsonl":
        rows = [json.loads(line) for path in (tmp_path / "t.kept").iterdir() for line in path.read_bytes().splitlines()]
        assert rows == widest
        return
    for path in (tmp_path / "t.kept").iterdir():
        table = parquet.read_table(path)
        times = table.column("time").cast("int64").to_pylist()
        found = zip(times, table.column("id").to_pylist(), table.column("shop").to_pylist(), strict=True)
        assert list(found) == [(row["time"], row["id"], row["shop"]) for row in widest]
        assert table.column("amount").to_pylist() == [row["amount"] for row in widest]
        assert [json.loads(text) for text in table.column("tags").to_pylist()] == [row["tags"] for row in widest]


def test_rows_without_the_field_of_their_key_are_delivered_too(tmp_path: Path) -> None:
    changed = document(**SINKS["jsonl"])
    changed["nodes"]["bare"] = {"kind": "map", "input": "wanted", "keep": ["id"]}
    changed["nodes"]["kept"]["input"] = "bare"
    made = Driver(make_plan(spec_of(changed)), files_dir=tmp_path, partitions=2)
    made.publish("sales", sales(30))
    made.run()
    lines = [line for path in (tmp_path / "t.kept").iterdir() for line in path.read_text().splitlines()]
    assert sorted(json.loads(line)["id"] for line in lines) == [number for number in range(30) if number % 5]
    assert made.dead_letters() == []


def test_a_key_replaces_rows(driver: Callable[..., Driver], tmp_path: Path) -> None:
    made = driver(SINKS["sqlite"] | {"key": ["shop"]}, chunk_size=10)
    made.publish("sales", sales(100))
    made.finish()
    last = {row["shop"]: row["id"] for row in sales(100) if row["id"] % 5}
    assert {row[2]: row[0] for row in found("sqlite", tmp_path)} == last


def test_a_missing_table_or_url_is_told(
    driver: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = driver(SINKS["sqlite"] | {"create": False})
    made.publish("sales", sales(10))
    with pytest.raises(SinkRefused, match=r"table sales of sink t\.kept cannot be written: no such table"):
        made.finish()
    assert made.dead_letters() == []
    monkeypatch.delenv("TEST_SQL_URL")
    with pytest.raises(SettingsError, match="TEST_SQL_URL is not set: sqlite:///"):
        driver(SINKS["sqlite"]).finish()


def test_an_owner_that_was_replaced_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SQL_URL", f"sqlite:///{tmp_path / 'db'}")
    plan = make_plan(spec_of(document(**SINKS["sqlite"])))
    schema = plan.stage("kept").entries[0].schema
    target = SqlTarget("TEST_SQL_URL", "sales", (), True, 1, 1)
    rows = [schema.row_type(**row) for row in sales(4)]
    old = SqlDelivery(target, schema, "t.kept", 0, 100)
    chunk = Chunk("t.kept.feed", 0, [b""] * 4, [Run(0, 100, 0)], 104)
    old.add(rows[0], chunk, 0)
    stalled = old.take(110)
    new = SqlDelivery(target, schema, "t.kept", 0, 100)
    for index, row in enumerate(rows):
        new.add(row, chunk, index)
    batch = new.take(120)
    assert batch is not None
    assert stalled is not None
    batch.prepare()
    with pytest.raises(TransactionFailed, match="moved on by another owner"):
        stalled.prepare()
    assert len(found("sqlite", tmp_path)) == 4
    # Its answer was lost, so it is done again: once.
    batch.prepare()
    assert len(found("sqlite", tmp_path)) == 4
    assert SqlDelivery(target, schema, "t.kept", 0, 100).done_until == 120


@pytest.mark.parametrize("name", SINKS)
def test_a_feed_that_begins_anew_is_refused(name: str, driver: Callable[..., Driver]) -> None:
    """As after a reset: its offsets mean other rows than those that are outside."""
    made = driver(SINKS[name], chunk_size=10)
    made.publish("sales", sales(60))
    made.run()
    anew = driver(SINKS[name], chunk_size=10)
    anew.publish("sales", sales(60))
    with pytest.raises(StateMismatch, match="after a reset"):
        anew.run()
