"""Every shape gives the model's results: chunks of 1 and n, fused and not, 1 to 4 partitions, crash and resume."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.engine.model import TOPOLOGY, make_events, results, windows

PLAN = make_plan(parse_topology(TOPOLOGY))
CRASHES = {
    3: CrashPoint.BEFORE_COMMIT,
    5: CrashPoint.BEFORE_STORE,
    9: CrashPoint.BEFORE_COMMIT,
    14: CrashPoint.BEFORE_STORE,
}


def _run(events: list[dict[str, Any]], **shape: Any) -> Driver:
    crashes = shape.pop("crashes", {})
    driver = Driver(PLAN, **shape)
    driver.crash_at = dict(crashes)
    for start in range(0, len(events), 100):
        driver.publish("in", events[start : start + 100])
        driver.run()
    driver.idle()
    return driver


def _check(driver: Driver, events: list[dict[str, Any]]) -> None:
    expected = results(events)
    assert driver.dead_letters() == []
    table = driver.table("w")
    assert table.keys() == expected.keys()
    for key, value in expected.items():
        assert table[key] == pytest.approx(value)
    emitted = driver.output("results")
    keys = [(row["carrier"], row["start"]) for row in emitted]
    assert len(keys) == len(set(keys)), "a window fired twice"
    for row, key in zip(emitted, keys, strict=True):
        assert {name: row[name] for name in expected[key]} == pytest.approx(expected[key])
        assert row["end"] == row["start"] + 10
    many = driver.output("many_results")
    assert sorted((r["carrier"], r["start"]) for r in many) == sorted(k for k in keys if expected[k]["n"] > 2)
    assert all(row["doubled"] == 2 * row["s"] for row in many)
    flown = [event for event in events if event["delay"] is not None]
    assert len(driver.output("counted")) == len(flown)
    assert sum(driver.table("counts").values()) == len(flown)
    assert {key: row["n"] for key, row in driver.table("live").items()} == {
        key: len(rows) for key, rows in windows(events, 20, 0).items()
    }


@pytest.mark.parametrize(
    ("partitions", "chunk_size", "fused", "crashes"),
    list(itertools.product((1, 2, 4), (1, 7, 1_000), (True, False), ({}, CRASHES))),
)
def test_results_equal_the_model(partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]) -> None:
    events = make_events(600, seed=partitions)
    shape = {"partitions": partitions, "chunk_size": chunk_size, "fused": fused, "checkpoint_every": 3}
    _check(_run(events, crashes=crashes, **shape), events)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.integers(1, 50),
    st.booleans(),
    st.dictionaries(st.integers(1, 60), st.sampled_from(CrashPoint), max_size=6),
    st.integers(1, 5),
)
def test_any_shape_equals_the_model(
    seed: int, partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint], every: int
) -> None:
    events = make_events(150, seed)
    shape = {"partitions": partitions, "chunk_size": chunk_size, "fused": fused, "checkpoint_every": every}
    _check(_run(events, crashes=crashes, **shape), events)


def test_updates_end_with_the_final_row() -> None:
    events = make_events(600, 1)
    driver = _run(events, chunk_size=10)
    last: dict[tuple[str, int], dict[str, Any]] = {}
    finals: dict[tuple[str, int], int] = {}
    for row in driver.output("live_results"):
        key = (row["carrier"], row["start"])
        assert not last.get(key, {}).get("final"), "an update came after the final row"
        last[key] = row
        finals[key] = finals.get(key, 0) + row["final"]
    expected = windows(events, 20, 0)
    closed = [key for key, row in last.items() if row["final"]]
    assert len(closed) > len(expected) // 2
    assert all(last[key]["n"] == len(expected[key]) for key in closed)
    assert all(finals[key] == 1 for key in closed)


def test_the_same_input_gives_the_same_bytes() -> None:
    events = make_events(300, 3)
    first, second = _run(events, partitions=2, chunk_size=10), _run(events, partitions=2, chunk_size=10)
    assert [r.value for r in first.records("results")] == [r.value for r in second.records("results")]
