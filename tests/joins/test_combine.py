"""Branches of one event come together by key, or are told incomplete; equal to the model in any shape."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joins import model
from tests.joins.model import Event, counted
from tests.joins.runs import RUNS, Run, late_ids, of_partition, run

_TOPOLOGY = """
topology: t
schemas: {{E: {{t: timestamp, k: int, id: int}}}}
nodes:
  a: {{kind: source, topic: a, schema: E, event_time: t, watermark_delay: 40ms, key: k}}
  b: {{kind: source, topic: b, schema: E, event_time: t, watermark_delay: 40ms, key: k}}
  c: {{kind: source, topic: c, schema: E, event_time: t, watermark_delay: 40ms, key: k}}
  j: {{kind: combine, inputs: [a, b, c], timeout: {timeout}ms, late: late, {more}
      fields: {{k: a.k, a: a.id, b: b.id, c: c.id}}}}
  o: {{kind: sink, input: j, topic: out}}
"""
ONE = Run(1, 100, True, 1, 0, ())


def make_branches(seed: int, count: int = 60) -> dict[str, list[Event]]:
    """Every key at most once per branch; some never come, some come late or far apart."""
    chance = random.Random(seed)
    streams: dict[str, list[Event]] = {"a": [], "b": [], "c": []}
    for key in range(count):
        time = 1_000 + 10 * key
        for name, events in streams.items():
            if chance.random() < 0.85:
                moved = chance.choice([0, 0, 5, 30, chance.randrange(-60, 120)])
                events.append({"t": time + moved, "k": key, "id": key})
            if len(events) > 3 and chance.random() < 0.3:
                events[-1], events[-2] = events[-2], events[-1]
            assert name
    return streams


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 20, 100]), st.booleans(), RUNS)
def test_combinations_equal_the_model(seed: int, timeout: int, aside: bool, shape: Run) -> None:
    """Complete ones at once, incomplete ones when nothing can come any more, each once."""
    streams = make_branches(seed)
    driver = run(_TOPOLOGY.format(timeout=timeout, more="incomplete: rest, " if aside else ""), streams, shape)
    wanted: list[tuple[Any, ...]] = []
    late: list[int] = []
    for partition in range(shape.partitions):
        parts = [of_partition(events, partition, shape) for events in streams.values()]
        split = [model.on_time(events, 40, 0) for events in parts]
        late += [event["id"] for _, behind in split for event in behind]
        watermark = min(max((e["t"] for e in events), default=-(1 << 60)) for events in parts) - 40
        for key in range(60):
            rows = [(port, e) for port, (kept, _) in enumerate(split) for e in kept if e["k"] == key]
            for each in model.combined(rows, 3, timeout, watermark) if rows else []:
                wanted.append(tuple(each.get(port) for port in range(3)))
    told = driver.output("out") + (driver.output("rest") if aside else [])
    assert counted([(row["a"], row["b"], row["c"]) for row in told]) == counted(wanted)
    assert all(row["k"] in (row["a"], row["b"], row["c"]) for row in told)
    assert late_ids(driver, "late") == sorted(late)
    assert driver.dead_letters() == []
    if aside:
        assert all(None not in row.values() for row in driver.output("out"))
        headers = [dict(record.headers)["sf-missing"].decode() for record in driver.records("rest")]
        missing = [",".join(name for name in "abc" if row[name] is None) for row in driver.output("rest")]
        assert headers == missing
    else:
        assert all(row["missing"] == [name for name in "abc" if row[name] is None] for row in told)


def test_a_branch_that_comes_twice_waits_for_the_next() -> None:
    driver = run(_TOPOLOGY.format(timeout=100, more=""), {}, ONE)
    for topic, number in (("a", 1), ("a", 2), ("b", 1), ("c", 1), ("c", 2), ("b", 2)):
        driver.publish(topic, [{"t": 1_000, "k": 7, "id": number}])
        driver.run()
    assert [(row["a"], row["b"], row["c"]) for row in driver.output("out")] == [(1, 1, 1), (2, 2, 2)]
    assert driver.table("j") == {}


def test_branches_of_one_source_meet_again() -> None:
    """Fan-out and fan-in within a task: everything has come together when the event is through."""
    topology = """
topology: t
schemas: {E: {t: timestamp, k: int, v: float}}
nodes:
  s: {kind: source, topic: in, schema: E, event_time: t, key: k}
  double: {kind: multiply, input: s, field: v, factor: 2, into: twice}
  big: {kind: filter, input: s, where: v > 5}
  j: {kind: combine, inputs: [double, big], timeout: 10ms, fields: {k: double.k, twice: double.twice, big: big.v}}
  o: {kind: sink, input: j, topic: out}
"""
    driver = run(topology, {"in": [{"t": 100 * n, "k": n, "v": n} for n in range(12)]}, Run(1, 3, True, 1, 0, ()))
    rows = sorted((row["k"], row["twice"], row["big"], row["missing"]) for row in driver.output("out"))
    assert rows == [(n, 2 * n, n if n > 5 else None, [] if n > 5 else ["big"]) for n in range(12)]


def test_too_many_rows_are_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task, and of a key."""
    monkeypatch.setattr("streamflow.engine.combine_table.MAX_PER_KEY", 2)
    driver = run(_TOPOLOGY.format(timeout=100, more="max_rows: 3, "), {}, ONE)
    driver.publish("a", [{"t": 1_000, "k": 1, "id": 0}] * 3 + [{"t": 1_000, "k": key, "id": 0} for key in (2, 3)])
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["too_many_rows"] * 2
