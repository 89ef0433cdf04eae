"""Joins of two streams equal the model, whatever is read first, in any shape, through crashes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.testing.driver import Driver
from tests.joins import model
from tests.joins.model import Event, counted
from tests.joins.runs import RUNS, Run, late_ids, of_partition, run

_TOPOLOGY = """
topology: t
schemas:
  L: {{t: timestamp, k: str, id: int}}
  R: {{t: timestamp, k: str, id: int}}
nodes:
  left: {{kind: source, topic: left, schema: L, event_time: t, watermark_delay: {delay}ms, key: k}}
  right: {{kind: source, topic: right, schema: R, event_time: t, watermark_delay: {delay}ms, key: k}}
  j: {{kind: join, inputs: [left, right], within: {{before: {before}ms, after: {after}ms}}, type: {type},
      prefix: {{right: r_}}, allowed_lateness: {lateness}ms, late: late}}
  o: {{kind: sink, input: j, topic: out}}
  w: {{kind: window, input: j, window: {{type: tumbling, size: 50ms}}, aggregate: {{n: count()}}, emit: final, late: never}}
  wo: {{kind: sink, input: w, topic: windows}}
"""
DELAY = 10


def _text(kind: str, before: int, after: int, lateness: int) -> str:
    return _TOPOLOGY.format(delay=DELAY, type=kind, before=before, after=after, lateness=lateness)


def expected(
    left: list[Event], right: list[Event], kind: str, before: int, after: int, lateness: int
) -> tuple[list[tuple[Any, Any]], list[int]]:
    """((left id, right id) of every result, ids that are late) of one partition."""
    lefts, late_left = model.on_time(left, DELAY, lateness)
    rights, late_right = model.on_time(right, DELAY, lateness)
    pairs = model.interval_join(lefts, rights, before, after)
    rows: list[tuple[Any, Any]] = [(one["id"], other["id"]) for one, other in pairs]
    if left and right:
        watermark = min(max(e["t"] for e in left), max(e["t"] for e in right)) - DELAY - lateness
        if kind in ("left", "full"):
            alone = model.without_partner(lefts, {one["id"] for one, _ in pairs}, after, watermark)
            rows += [(e["id"], None) for e in alone]
        if kind in ("right", "full"):
            alone = model.without_partner(rights, {other["id"] for _, other in pairs}, before, watermark)
            rows += [(None, e["id"]) for e in alone]
    return rows, [e["id"] for e in late_left + late_right]


def check(driver: Driver, left: list[Event], right: list[Event], shape: Run, *how: Any) -> None:
    """Results and late rows are the model's, each once."""
    rows: list[tuple[Any, Any]] = []
    late: list[int] = []
    for partition in range(shape.partitions):
        lefts, rights = of_partition(left, partition, shape), of_partition(right, partition, shape)
        found = expected(lefts, rights, *how)
        rows += found[0]
        late += found[1]
    assert counted([(row["id"], row["r_id"]) for row in driver.output("out")]) == counted(rows)
    assert late_ids(driver, "late") == sorted(late)
    assert driver.dead_letters() == []


BOUNDS = st.sampled_from([(0, 0), (0, 30), (30, 0), (20, 20), (5, 150), (300, 90)])


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["inner", "left", "right", "full"]), BOUNDS, st.sampled_from([0, 25]), RUNS
)
def test_joins_equal_the_model(seed: int, kind: str, bounds: tuple[int, int], lateness: int, shape: Run) -> None:
    """Disorder beyond the delay, duplicates of time and key, silences; rows alone leave once, with nulls."""
    left, right = model.make_stream(seed, 80, 60), model.make_stream(seed + 1, 80, 60)
    driver = run(_text(kind, *bounds, lateness), {"left": left, "right": right}, shape)
    check(driver, left, right, shape, kind, *bounds, lateness)
    if lateness == 0:
        assert driver.output("never") == [], "a result's time is when it was known, so no window behind takes it late"
    by_id = {e["id"]: e for e in left}, {e["id"]: e for e in right}
    for row in driver.output("out"):
        keys = {by_id[side][row[name]]["k"] for side, name in enumerate(("id", "r_id")) if row[name] is not None}
        assert keys == {row["k"]}


def test_a_silent_side_is_left_out_and_rows_leave_alone() -> None:
    """The right side has events at first and then none: left rows wait until it is idle, and leave once."""
    driver = run(_text("left", 0, 30, 0), {}, Run(1, 10, True, 1, 0, ()))
    driver.publish("right", [{"t": 1_000, "k": "a", "id": 0}])
    driver.publish("left", [{"t": 1_000 + 10 * n, "k": "a", "id": n} for n in range(20)])
    driver.run()
    assert [row["r_id"] for row in driver.output("out")] == [0]
    driver.now_ms += 9_000
    driver.publish("left", [{"t": 1_200, "k": "a", "id": 20}])
    driver.run()
    driver.idle(2_000)
    driver.publish("left", [{"t": 1_300, "k": "a", "id": 21}])
    driver.run()
    alone = [row["id"] for row in driver.output("out") if row["r_id"] is None]
    assert alone == list(range(1, 21))


def test_rows_that_fork_and_meet_again_are_one_stream_each() -> None:
    """Both inputs come from one source through filters: the task has one entry, the node two ports."""
    topology = """
topology: t
schemas: {E: {t: timestamp, k: str, id: int}}
nodes:
  s: {kind: source, topic: in, schema: E, event_time: t, key: k}
  even: {kind: filter, input: s, where: id % 2 == 0}
  odd: {kind: filter, input: s, where: id % 2 == 1}
  j: {kind: join, inputs: [even, odd], within: 0, fields: {k: even.k, a: even.id, b: odd.id}}
  o: {kind: sink, input: j, topic: out}
"""
    events = [{"t": 100 + n // 2, "k": "x", "id": n} for n in range(10)]
    driver = run(topology, {"in": events}, Run(1, 3, False, 1, 0, ()))
    assert sorted((row["a"], row["b"]) for row in driver.output("out")) == [(n, n + 1) for n in range(0, 10, 2)]


def test_too_many_rows_of_a_key_are_put_aside() -> None:
    """The bound is per key, side and stretch of time."""
    text = _text("inner", 0, 30, 0).replace("late: late", "late: late, max_rows: 3")
    driver = run(text, {"left": [{"t": 1_000, "k": "a", "id": n} for n in range(5)]}, Run(1, 10, True, 1, 0, ()))
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["too_many_rows"] * 2
    assert [letter["sf-node"] for letter in driver.dead_letters()] == ["j"] * 2


@pytest.mark.parametrize("fused", [True, False])
def test_a_null_key_of_either_side_becomes_a_dead_letter(fused: bool) -> None:
    text = _text("full", 0, 30, 0).replace("k: str", "k: str?")
    driver = run(text, {}, Run(1, 10, fused, 1, 0, ()))
    driver.publish("left", [{"t": 1_000, "k": None, "id": 1}, {"t": 1_000, "k": "a", "id": 2}])
    driver.publish("right", [{"t": 1_000, "k": None, "id": 3}, {"t": 1_000, "k": "a", "id": 4}])
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["null_key"] * 2
    assert [(row["id"], row["r_id"]) for row in driver.output("out")] == [(2, 4)]


def test_what_memory_cannot_hold_is_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for ten rows the results are the same."""
    monkeypatch.setattr("streamflow.engine.join_table.MAX_LIVE", 10)
    left, right = model.make_stream(5, 200, 10, "abcdefghij"), model.make_stream(6, 200, 10, "abcdefghij")
    shape = Run(2, 7, True, 2, 3, ())
    driver = run(_text("full", 300, 90, 0), {"left": left, "right": right}, shape)
    check(driver, left, right, shape, "full", 300, 90, 0)


def test_the_store_lets_go_of_what_nobody_can_reach() -> None:
    """After a long stretch of time only the last panes are there."""
    driver = run(_text("full", 10, 10, 0), {}, Run(1, 100, True, 1, 0, ()))
    for number in range(60):
        for topic in ("left", "right"):
            driver.publish(topic, [{"t": 1_000 + 50 * number, "k": "a", "id": number}])
        driver.run()
    assert 0 < sum(task.open_windows() for task in driver.tasks()) < 20
    assert 0 < len(driver.table("j")) < 20
