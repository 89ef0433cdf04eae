"""Rows that a changelog would not take are put aside before anything remembers them; versions that a bound lets go are
counted and said. In every shape, and the same without the disk.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.bus.detail import Detail
from streamflow.engine import approval_table, combine_table, row_size, versioned_table
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.joins.runs import RUNS, Run, run

_HEAD = """
topology: t
schemas: {E: {t: timestamp, k: str, id: int, text: str}}
nodes:
  a: {kind: source, topic: a, schema: E, event_time: t, key: k}
  b: {kind: source, topic: b, schema: E, event_time: t, key: k}
"""
_NODES = {
    "table": "j: {kind: table, input: a}\n  b_out: {kind: sink, input: b, topic: bs}",
    "join": "j: {kind: join, inputs: [a, b], within: 1s, type: left, prefix: {b: b_}}",
    "as_of": "ts: {kind: table, input: b}\n  j: {kind: table_join, inputs: [a, ts], type: left, prefix: {ts: b_}}",
    "combine": "j: {kind: combine, inputs: [a, b], timeout: 1s, prefix: {b: b_}}",
    "foreign": "ls: {kind: table, input: a}\n  rs: {kind: table, input: b}\n"
    "  j: {kind: foreign_join, inputs: [ls, rs], key: k, type: left, prefix: {rs: b_}}",
    "approval": "p: {kind: approval, input: a, deadline: 1s}\n  j: {kind: filter, input: p.expired, where: id >= 0}\n"
    "  b_out: {kind: sink, input: b, topic: bs}",
}
_ROW_MAX = 400


def _events(ids: range, text: str = "x") -> list[dict[str, Any]]:
    return [{"t": 1_000 + number, "k": f"k{number % 3}", "id": number, "text": text} for number in ids]


def _dead_ids(driver: Driver) -> list[int]:
    return [json.loads(record.value or b"")["id"] for record in driver.records(driver.plan.dead_letter_topic)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", _NODES)
def test_a_row_too_large_for_the_changelog_is_nowhere_but_in_the_dead_letters(
    kind: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (row_size, combine_table, approval_table):
        monkeypatch.setattr(module, "ROW_MAX_BYTES", _ROW_MAX)
    monkeypatch.setattr(approval_table, "_WORDS_BYTES", 0)
    text = f"{_HEAD}  {_NODES[kind]}\n  o: {{kind: sink, input: j, topic: out}}\n"
    shape = Run(1, 3, fused, 1, 0, ())
    fitting = _events(range(6))
    large = [{**event, "t": 1_002} for event in _events(range(2, 5), text="y" * _ROW_MAX)]
    streams = {"a": [*fitting[:3], *large, *fitting[3:]], "b": _events(range(3))}
    driver, plain = run(text, streams, shape), run(text, {"a": fitting, "b": _events(range(3))}, shape)
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["too_large"] * len(large)
    assert sorted(_dead_ids(driver)) == [2, 3, 4]
    assert sorted(map(str, driver.output("out"))) == sorted(map(str, plain.output("out")))
    tables = [table.name for stage in driver.plan.stages for table in stage.tables]
    for name in tables:
        log = driver.log.partitions[_changelog(driver, name), 0]
        assert max((len(record.value or b"") for record in log.records), default=0) <= _ROW_MAX + 20
    before = [driver.table(name) for name in tables]
    driver.crash()
    driver._stores.clear()  # the disk is lost
    driver.run()
    assert [driver.table(name) for name in tables] == before


def test_waiting_rows_of_a_key_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would fit; the third one of the key does not, until the others have left."""
    monkeypatch.setattr(combine_table, "ROW_MAX_BYTES", 100)
    text = f"{_HEAD}  {_NODES['combine']}\n  o: {{kind: sink, input: j, topic: out}}\n"
    rows = [{"t": 1_000 + number, "k": "k", "id": number, "text": "x"} for number in range(4)]
    driver = run(text, {"a": rows[:3]}, Run(1, 100, True, 1, 0, ()))
    assert _dead_ids(driver) == [2]
    for topic, sent in (("b", rows[:2]), ("a", rows[3:])):
        driver.publish(topic, sent)
        driver.run()
    assert [(row["id"], row["b_id"]) for row in driver.output("out")] == [(0, 0), (1, 1)]
    assert len(driver.dead_letters()) == 1


_VERSIONS = """
topology: t
schemas: {V: {t: timestamp, k: str, id: int, text: str}}
nodes:
  changes: {kind: source, topic: changes, schema: V, event_time: t, watermark_delay: 1h, key: k}
  versions: {kind: table, input: changes, retention: 1h, versions: 6}
  o: {kind: sink, input: versions, topic: out}
"""


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 60)), max_size=60), RUNS)
def test_versions_that_a_bound_lets_go_are_counted_and_said(changes: list[tuple[int, str, int]], shape: Run) -> None:
    """Which ones go does not depend on checkpoints, and the count is that of a plain model."""
    limit = 200
    events = [
        {"t": 1_000 + time, "k": key, "id": number, "text": "x" * size}
        for number, (time, key, size) in enumerate(changes)
    ]
    kept: dict[Any, dict[Any, dict[str, Any]]] = {}
    dropped = 0
    for event in events:
        rows = kept.setdefault(event["k"], {})
        rows[event["t"]] = event
        while len(rows) > 1 and (len(rows) > 6 or _size(rows) > limit):
            del rows[min(rows)]
            dropped += 1
    driver = Driver(
        make_plan(parse_topology(_VERSIONS)),
        chunk_size=shape.chunk_size,
        fused=shape.fused,
        checkpoint_every=shape.every,
        events=Detail.LIFECYCLE,
    )
    driver.crash_at = dict(shape.crashes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versioned_table, "KEY_MAX_BYTES", limit)
        driver.publish("changes", events)
        driver.run()
    log = driver.log.partitions[_changelog(driver, "versions"), 0]
    found = {record.key: json.loads(record.value or b"[]") for record in log.records}
    expected = {key.encode(): [row["id"] for _, row in sorted(rows.items())] for key, rows in kept.items()}
    assert {key: [row[4] for row in rows] for key, rows in found.items()} == expected
    said = [json.loads(record.value or b"") for record in driver.records(EVENTS)]
    assert {event["type"] for event in said} <= {"VERSIONS_DROPPED"}
    assert sum(event["data"]["count"] for event in said) == dropped
    if not shape.crashes:
        assert sum(task.counters.by_node()["versions"].dropped for task in driver.tasks()) == dropped


def _changelog(driver: Driver, table: str) -> str:
    found = driver.plan.table(table)
    assert found is not None
    return found[1].changelog_topic


def _size(rows: dict[Any, dict[str, Any]]) -> int:
    """Bytes of a key's versions as they are written."""
    kept = [[row["t"], False, row["t"], row["k"], row["id"], row["text"]] for row in rows.values()]
    return len(json.dumps(kept, separators=(",", ":")))
