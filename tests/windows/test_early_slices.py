"""Early results, updates and corrections of many windows: the same rows in slices, and no transaction of all of them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import fold_table
from streamflow.engine.slice import slice_records
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.windows.test_shapes import make_events

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: int?, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: 15ms, key: k}}
  w: {{kind: window, input: s, window: {{{window}}}, aggregate: {{n: count()}}, {more}}}
  o: {{kind: sink, input: w, topic: out}}
"""
KINDS = [
    "type: tumbling, size: 300ms",
    "type: sliding, size: 200ms, slide: 50ms",
    "type: session, gap: 90ms",
    "type: global",
]


def _told(window: str, events: list[dict[str, Any]], closing_rows: int, live_max: int, **shape: Any) -> list[Any]:
    crashes = shape.pop("crashes", {})
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(window=window, more="early: 70ms"))), **shape)
    driver.crash_at = dict(crashes)
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(fold_table, "CLOSING_ROWS", closing_rows)
        bounds.setattr(fold_table, "MAX_LIVE", live_max)
        for start in range(0, len(events), 40):
            driver.publish("in", events[start : start + 40])
            driver.run()
    assert driver.dead_letters() == []
    return sorted(tuple(row.items()) for row in driver.output("out"))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1_000),
    st.sampled_from(KINDS),
    st.integers(1, 5),
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([2, 1_000_000]),
    st.dictionaries(st.integers(1, 80), st.sampled_from(CrashPoint), max_size=12),
)
def test_early_results_in_slices_are_those_told_at_once(
    seed: int,
    window: str,
    closing_rows: int,
    chunk_size: int,
    fused: bool,
    overlap: bool,
    live_max: int,
    crashes: dict[int, CrashPoint],
) -> None:
    events = make_events(seed, 80)
    # Keys that come once, so that more is open than a slice may tell.
    events[30:30] = [{"t": events[30]["t"], "k": f"k{n}", "v": 1, "id": n} for n in range(12)]
    shape = {"chunk_size": chunk_size, "fused": fused, "overlap": overlap, "crashes": crashes}
    found = _told(window, events, closing_rows, live_max, **shape)
    assert found == _told(window, events, 1_000_000, 1_000_000, chunk_size=500)


@pytest.mark.parametrize("window", KINDS)
def test_a_crash_within_a_closing_loses_no_early_result(window: str) -> None:
    """One event closes windows, in slices, and passes an early border that comes before some of their ends."""
    times = {"a": 1_040, "b": 1_040, "c": 1_075, "d": 1_160, "e": 1_320}
    events = [{"t": time, "k": key, "v": 1, "id": 0} for key, time in times.items()]
    wanted = _told(window, events, 1_000_000, 1_000_000, chunk_size=500)
    for commit in range(1, 25):
        crashes = {commit: CrashPoint.BEFORE_STORE}
        assert _told(window, events, 1, 1_000_000, chunk_size=1, crashes=crashes) == wanted, commit


@pytest.mark.parametrize("window", ["type: tumbling, size: 1h", "type: session, gap: 1h", "type: global"])
def test_a_checkpoint_has_one_slice_of_early_results(window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(window=window, more="early: 1s"))))
    driver.publish("in", [{"t": 400, "k": f"k{n}", "v": 1, "id": n} for n in range(100)])
    driver.run()
    told = len(driver.output("out"))
    driver.publish("in", [{"t": 5_000, "k": "k0", "v": 1, "id": 0}])
    counts = [told]
    for _ in range(40):
        driver._pass()
        counts.append(len(driver.output("out")))
        driver.crash()
    assert max(after - before for before, after in pairwise(counts)) == 8
    assert counts[-1] - told == 100


@pytest.mark.parametrize(
    ("window", "more", "untold", "slice_count"),
    [
        ("type: tumbling, size: 1s", "emit: update", 7, 4_000),
        ("type: sliding, size: 1s, slide: 10ms", "emit: update", 700, 200),
        ("type: session, gap: 1s", "emit: update", 7, 4_000),
        ("type: global", "emit: update", 7, 4_000),
        ("type: tumbling, size: 1s", "allowed_lateness: 10s", 0, 4_000),
        ("type: tumbling, size: 1s", "emit: final, allowed_lateness: 10s", 0, 4_000),
    ],
)
def test_what_windows_will_tell_counts_as_waiting(window: str, more: str, untold: int, slice_count: int) -> None:
    """So that a transaction of it begins before it is too large."""
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(window=window, more=more))))
    driver.publish("in", [{"t": 5_400, "k": "k0", "v": 1, "id": 1}])
    driver.run()
    (task,) = driver.tasks()
    driver.publish("in", [{"t": 5_400, "k": f"k{n}", "v": 1, "id": n} for n in range(7)])
    chunk = driver.log.chunk("in", 0, task.positions["in", 0], 1_000, False, driver.now_ms)
    assert chunk is not None
    task.process(0, chunk, 0, len(chunk.values))
    assert task.pending_outputs == untold
    assert slice_records(task.stage, 4_000) == slice_count
    checkpoint = task.take_checkpoint(driver.now_ms)
    assert checkpoint is not None
    assert len(checkpoint.outputs.get(("out", 0), ())) == untold


def test_corrections_count_as_waiting() -> None:
    driver = Driver(
        make_plan(parse_topology(_TOPOLOGY.format(window="type: tumbling, size: 1s", more="allowed_lateness: 10s")))
    )
    driver.publish("in", [{"t": time, "k": "k0", "v": 1, "id": 1} for time in (400, 2_400)])
    driver.run()
    (task,) = driver.tasks()
    driver.publish("in", [{"t": 500, "k": f"k{n}", "v": 1, "id": n} for n in range(7)])
    chunk = driver.log.chunk("in", 0, task.positions["in", 0], 1_000, False, driver.now_ms)
    assert chunk is not None
    task.process(0, chunk, 0, len(chunk.values))
    assert task.pending_outputs == 7
