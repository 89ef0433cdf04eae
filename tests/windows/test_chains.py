"""Windows behind windows that give results long after their end: no result is late for what is behind it."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology
from tests.windows import model
from tests.windows.model import Event
from tests.windows.test_shapes import DELAY, RUNS, Run, bounds_of, make_events

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: int?, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: {delay}ms, key: k}}
  first: {{kind: window, input: s, window: {{{first}}}, aggregate: {{n: count()}}, {lateness}, late: late}}
  second: {{kind: window, input: first, window: {{type: tumbling, size: 60ms}}, aggregate: {{n: sum(n), rows: count()}},
            allowed_lateness: {more}ms, emit: {emit}, late: late2}}
  visits: {{kind: window, input: first, window: {{type: session, gap: 45ms}}, aggregate: {{n: sum(n), rows: count()}},
            late: late2}}
  by_n: {{kind: key_by, input: first, key: n}}
  sizes: {{kind: window, input: by_n, window: {{type: sliding, size: 80ms, slide: 40ms}}, aggregate: {{rows: count()}},
           late: late2}}
  o2: {{kind: sink, input: second, topic: second}}
  o3: {{kind: sink, input: visits, topic: visits}}
  o4: {{kind: sink, input: sizes, topic: sizes}}
"""


def _driver(text: str, shape: Run, *, ends: bool) -> Driver:
    plan = make_plan(parse_topology(text))
    driver = Driver(
        bounded(plan) if ends else plan,
        partitions=shape.partitions,
        chunk_size=shape.chunk_size,
        fused=shape.fused,
        checkpoint_every=shape.every,
        overlap=shape.overlap,
    )
    driver.crash_at = dict(shape.crashes)
    return driver


def _run(driver: Driver, events: list[Event], shape: Run) -> None:
    with bounds_of(shape):
        for start in range(0, len(events), 40):
            driver.publish("in", events[start : start + 40])
            driver.run()


def _parts(events: list[Event], shape: Run) -> list[list[Event]]:
    return [
        [event for event in events if partition_of(event["k"].encode(), shape.partitions) == partition]
        for partition in range(shape.partitions)
    ]


def _first_results(part: list[Event], kind: str, lateness: int) -> list[Event]:
    """Final results of the first window, as rows: key, time, count."""
    if kind == "session":
        found = model.sessions(part, 25, DELAY, lateness, lateness)
        return [{"k": key, "t": end - 1, "n": len(rows)} for (key, _, end), rows in found.content.items()]
    size, slide = (20, 20) if kind == "tumbling" else (20, 5)
    found = model.aligned(part, size, slide, 0, DELAY, lateness, lateness)
    return [{"k": key, "t": start + size - 1, "n": len(rows)} for (key, start), rows in found.content.items()]


def _totals(rows: list[Event], size: int, slide: int, key: str) -> dict[tuple[Any, int], tuple[int, int]]:
    """(sum of n, rows) by key and start of the windows that rows fall into."""
    found: dict[tuple[Any, int], tuple[int, int]] = {}
    for row in rows:
        last = row["t"] // slide * slide
        for start in range(last, row["t"] - size, -slide):
            total, count = found.get((row[key], start), (0, 0))
            found[row[key], start] = total + row["n"], count + 1
    return found


def _visits(rows: list[Event]) -> Counter[tuple[str, int, int, int]]:
    """(key, start, sum of n, rows) of sessions over rows."""
    found: Counter[tuple[str, int, int, int]] = Counter()
    for key in {row["k"] for row in rows}:
        mine = sorted((row for row in rows if row["k"] == key), key=lambda row: row["t"])
        groups: list[list[Event]] = []
        for row in mine:
            if groups and row["t"] < groups[-1][-1]["t"] + 45:
                groups[-1].append(row)
            else:
                groups.append([row])
        found.update((key, group[0]["t"], sum(row["n"] for row in group), len(group)) for group in groups)
    return found


KINDS = {
    "tumbling": "type: tumbling, size: 20ms",
    "sliding": "type: sliding, size: 20ms, slide: 5ms",
    "session": "type: session, gap: 25ms",
}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([0, 15, 130]),
    st.sampled_from([0, 35]),
    st.sampled_from(["close", "final", "update"]),
    RUNS,
)
def test_no_result_is_late_for_the_window_behind(
    seed: int, kind: str, lateness: int, more: int, emit: str, shape: Run
) -> None:
    """In one stage and behind a repartition; in a stream, and when it ends."""
    suppressed = f"allowed_lateness: {lateness}ms, emit: final"
    text = _TOPOLOGY.format(delay=DELAY, first=KINDS[kind], lateness=suppressed, more=more, emit=emit)
    events = make_events(seed, 120)
    parts = [_first_results(part, kind, lateness) for part in _parts(events, shape)]
    rows = [row for part in parts for row in part]

    stream = _driver(text, shape, ends=False)
    _run(stream, events, shape)
    lag = lateness + (0 if emit == "close" else more)
    expected: dict[tuple[Any, int], tuple[int, int]] = {}
    for part, results in zip(_parts(events, shape), parts, strict=True):
        if part:
            watermark = max(event["t"] for event in part) - DELAY
            totals = _totals(results, 60, 60, "k").items()
            expected |= {place: total for place, total in totals if place[1] + 60 + lag <= watermark}
    finals = [row for row in stream.output("second") if row.get("final", True)]
    assert {(row["k"], row["start"]): (row["n"], row["rows"]) for row in finals} == expected
    assert len(finals) == len(expected), "a window fired twice"

    whole = _driver(text, shape, ends=True)
    _run(whole, events, shape)
    whole.finish()
    last = {(row["k"], row["start"]): (row["n"], row["rows"]) for row in whole.output("second")}
    assert last == _totals(rows, 60, 60, "k")
    assert Counter((r["k"], r["start"], r["n"], r["rows"]) for r in whole.output("visits")) == _visits(rows)
    sizes = [((row["n"], row["start"]), row["rows"]) for row in whole.output("sizes")]
    assert sorted(sizes) == sorted((place, count) for place, (_, count) in _totals(rows, 80, 40, "n").items())
    assert whole.output("late2") == stream.output("late2") == []
    assert whole.dead_letters() == stream.dead_letters() == []


_VERSIONS = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: int?, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: {delay}ms, key: k}}
  first: {{kind: window, input: s, window: {{{first}}}, aggregate: {{n: count()}}, allowed_lateness: {lateness}ms,
           emit: {emit}}}
  counts: {{kind: table, input: first}}
  seen: {{kind: table_join, inputs: [s, counts], type: left, late: late,
          fields: {{k: s.k, id: s.id, start: counts.start, n: counts.n}}}}
  o: {{kind: sink, input: seen, topic: seen}}
"""


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 15, 130]), st.sampled_from(["close", "final"]), RUNS)
def test_who_looks_as_of_a_time_sees_all_corrections(seed: int, lateness: int, emit: str, shape: Run) -> None:
    """A row waits until no result of a window before it can be corrected any more."""
    text = _VERSIONS.format(delay=DELAY, first=KINDS["tumbling"], lateness=lateness, emit=emit)
    events = make_events(seed, 120)
    driver = _driver(text, shape, ends=True)
    _run(driver, events, shape)
    driver.finish()
    expected = []
    for part in _parts(events, shape):
        counts = {(row["k"], row["t"]): row["n"] for row in _first_results(part, "tumbling", lateness)}
        for event in part:
            before = [time for key, time in counts if key == event["k"] and time <= event["t"]]
            n = counts[event["k"], max(before)] if before else None
            expected.append((event["id"], max(before) - 19 if before else None, n))
    assert sorted((row["id"], row["start"], row["n"]) for row in driver.output("seen")) == sorted(expected)
    assert driver.output("late") == driver.dead_letters() == []


def test_running_aggregates_are_not_late_where_ids_are_kept() -> None:
    """A key without rows for a long time is told early as of now, not as of its last row."""
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  all: {kind: window, input: s, window: {type: global}, aggregate: {n: count()}, early: 100ms}
  once: {kind: deduplicate, input: all, within: 50ms, late: late}
  o: {kind: sink, input: once, topic: out}
"""
    driver = Driver(make_plan(parse_topology(text)))
    driver.publish("in", [{"t": time, "k": key} for key, time in (("old", 10), ("a", 20), ("a", 150), ("a", 250))])
    driver.run()
    assert sorted((row["k"], row["n"]) for row in driver.output("out")) == [("a", 1), ("a", 2), ("old", 1), ("old", 1)]
    assert driver.output("late") == driver.dead_letters() == []


@pytest.mark.parametrize(("lateness", "refires"), [("1m", False), ("2m", True)])
def test_state_of_windows_that_were_held_back_otherwise_is_refused(lateness: str, refires: bool) -> None:
    """They would fire again."""
    text = """
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, key: k}}
  a: {{kind: window, input: s, window: {{type: tumbling, size: 1m}}, aggregate: {{n: count()}}, emit: final,
       allowed_lateness: {lateness}}}
  b: {{kind: window, input: a, window: {{type: tumbling, size: 1h}}, aggregate: {{n: sum(n)}}}}
"""
    before, after = (make_plan(parse_topology(text.format(lateness=each))) for each in ("1m", lateness))
    one, other = before.table("b"), after.table("b")
    assert one is not None
    assert other is not None
    assert (one[1].layout != other[1].layout) is refires
