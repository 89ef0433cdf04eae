"""A bounded run: everything up to the end is processed, every window closes once, and the end survives crashes."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.checkpoint.progress import END_OF_TIME, Progress
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.engine.model import TOPOLOGY, make_events, results, windows

PLAN = bounded(make_plan(parse_topology(TOPOLOGY)))
CRASHES = {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE, 9: CrashPoint.BEFORE_COMMIT}
_SHAPES = """
topology: t
schemas: {{Dep: {{time: timestamp, k: str}}}}
nodes:
  deps: {{kind: source, topic: in, schema: Dep, event_time: time, watermark_delay: 1h, key: k}}
  w: {{kind: window, input: deps, window: {window}, aggregate: {{n: count()}}}}
  out: {{kind: sink, input: w, topic: out}}
"""


def _check(driver: Driver, events: list[dict[str, Any]]) -> None:
    expected = results(events)
    emitted = {}
    for row in driver.output("results"):
        key = (row["carrier"], row["start"])
        assert key not in emitted, "a window fired twice"
        emitted[key] = {name: row[name] for name in ("n", "s", "mean", "lo", "hi")}
    assert emitted.keys() == expected.keys()
    for key, row in emitted.items():
        assert row == pytest.approx(expected[key])
    finals = [(row["carrier"], row["start"]) for row in driver.output("live_results") if row["final"]]
    assert sorted(finals) == sorted(windows(events, 20, 0))
    assert driver.table("w").keys() == expected.keys(), "the end of a run is no reason to forget results"
    assert {task.watermark_ms for task in driver.tasks()} == {END_OF_TIME}


def _run(events: list[dict[str, Any]], **shape: Any) -> Driver:
    crashes = shape.pop("crashes", {})
    driver = Driver(PLAN, **shape)
    driver.crash_at = dict(crashes)
    driver.publish("in", events)
    driver.finish()
    return driver


@pytest.mark.parametrize(
    ("partitions", "chunk_size", "fused", "crashes"),
    list(itertools.product((1, 2, 4), (1, 7, 1_000), (True, False), ({}, CRASHES))),
)
def test_every_window_closes_once(
    partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    events = make_events(400, seed=partitions)
    shape = {"partitions": partitions, "chunk_size": chunk_size, "fused": fused, "checkpoint_every": 3}
    _check(_run(events, crashes=crashes, **shape), events)


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.integers(1, 4),
    st.integers(1, 50),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=6),
    st.integers(1, 5),
)
def test_any_shape_ends_with_the_models_results_and_counts(
    seed: int, count: int, partitions: int, chunk_size: int, crashes: dict[int, CrashPoint], every: int
) -> None:
    events = make_events(count, seed)
    driver = _run(events, partitions=partitions, chunk_size=chunk_size, crashes=crashes, checkpoint_every=every)
    _check(driver, events)
    assert _counted(driver, "deps") == (count, count, 0, 0)
    flown = sum(event["delay"] is not None for event in events)
    assert _counted(driver, "flown") == (count, flown, 0, 0)
    assert _counted(driver, "w") == (flown, len(results(events)), 0, 0)


def _counted(driver: Driver, node: str) -> tuple[int, ...]:
    """Sums over tasks of (in, out, late, dead), as committed with the progress: crashes do not count twice."""
    sums = [0, 0, 0, 0]
    for task in driver.tasks():
        places = list(task.positions)
        task.counters.resume(Progress.decode(driver.log.committed[places[0]][1]).counts)
        found = task.counters.by_node().get(node)
        if found is not None and (task.stage.entries[0].node == "deps") == (node in ("deps", "flown")):
            sums = [a + b for a, b in zip(sums, (found.rows_in, found.rows_out, found.late, found.dead), strict=True)]
    return tuple(sums)


def test_what_is_published_after_the_end_is_not_read() -> None:
    events, later = make_events(50, 1), make_events(50, 2)
    driver = _run(events, partitions=2, chunk_size=1_000)
    driver.publish("in", later)
    driver.finish()
    _check(driver, events)
    driver.crash()
    driver.finish()
    _check(driver, events)


def test_the_end_lies_within_a_chunk() -> None:
    events, later = make_events(50, 1), make_events(50, 2)
    driver = Driver(PLAN, partitions=1, chunk_size=1_000)
    driver.publish("in", events)
    driver.crash_at = {1: CrashPoint.BEFORE_COMMIT}
    driver._ends = {("in", 0): driver.log.partitions["in", 0].next_offset}
    driver.publish("in", later)
    driver.finish()
    _check(driver, events)


@pytest.mark.parametrize(
    ("window", "closed"),
    [
        ("{type: tumbling, size: 1h}", 1),
        ("{type: sliding, size: 1h, slide: 30m}", 2),
        ("{type: session, gap: 1h}", 1),
        ("{type: calendar, unit: month, zone: Europe/Berlin}", 1),
        ("{type: count, size: 2}", 1),  # of three rows; a count window that is not full has no end to come to
    ],
)
def test_windows_of_every_shape_close(window: str, closed: int) -> None:
    driver = Driver(bounded(make_plan(parse_topology(_SHAPES.format(window=window)))))
    driver.publish("in", [{"time": 1_000 + i, "k": "a"} for i in range(3)])
    driver.run()
    before = len(driver.output("out"))
    driver.finish()
    assert before == (1 if "count" in window else 0)
    assert [row["n"] for row in driver.output("out")] == [2 if "count" in window else 3] * closed
