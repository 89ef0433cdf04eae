"""Statistics per key beside a plain computation that keeps everything, in any shape of run."""

import math
import statistics
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.model.partitioner import partition_of
from streamflow.nodes.anomaly import Anomaly
from streamflow.nodes.normalize_running import NormalizeRunning
from streamflow.nodes.normalize_window import NormalizeWindow
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.compliance import run_kind
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.document import spec_of

#: Values that differ by so little that the squares of it are nothing have no spread, here as in any other computation.
FLOATS = st.floats(-100, 100).map(lambda value: round(value, 6))
VALUES = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | st.integers(-5, 5) | FLOATS), max_size=60)


def run(kind: str, events: list[tuple[str, float | None]], shape: Any, **config: Any) -> list[dict[str, Any]]:
    """Rows of a node per key, in a run of some shape: (partitions, chunk size, fused, crashes)."""
    partitions, chunk_size, fused, crashes = shape
    nodes = {
        "events": {"kind": "source", "topic": "in", "schema": "E", "key": "k"},
        "it": {"kind": kind, "input": "events", "field": "x", **config},
        "out": {"kind": "sink", "input": "it", "topic": "out"},
    }
    spec = spec_of({"topology": "t", "schemas": {"E": {"n": "int", "k": "str", "x": "float?"}}, "nodes": nodes})
    driver = Driver(make_plan(spec), partitions=partitions, chunk_size=chunk_size, fused=fused)
    driver.crash_at = crashes
    rows = [{"n": number, "k": key, "x": value} for number, (key, value) in enumerate(events)]
    for start in range(0, len(rows), 17):
        driver.publish("in", rows[start : start + 17])
        driver.run()
    assert driver.dead_letters() == []
    return sorted(driver.output("out"), key=lambda row: row["n"])


SHAPES = st.tuples(
    st.integers(1, 3),
    st.sampled_from([1, 5, 100]),
    st.booleans(),
    st.dictionaries(st.integers(1, 20), st.sampled_from(CrashPoint), max_size=4),
)


def same(found: float | None, expected: float | None) -> bool:
    """Whether two scores agree; sums in another order differ in the last digits."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)


@settings(max_examples=60, deadline=None)
@given(VALUES, SHAPES, st.sampled_from(["min_max", "z_score"]))
def test_running_scales_are_those_of_all_values_so_far(events: Any, shape: Any, method: str) -> None:
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for row, (key, value) in zip(run("normalize_running", events, shape, method=method), events, strict=True):
        expected: float | None = None
        if value is not None:
            seen[key].append(float(value))
            past = seen[key]
            if method == "min_max" and max(past) > min(past):
                expected = (value - min(past)) / (max(past) - min(past))
            elif method == "z_score" and len(set(past)) > 1:
                expected = (value - statistics.mean(past)) / statistics.stdev(past)
        assert same(row["x"], expected), (row, past)


DELAY_MS, SIZE_MS, OFFSET_MS = 20, 50, 7
TIMED = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 400), st.none() | st.integers(-5, 5) | FLOATS),
    max_size=60,
)


def expected_of_windows(events: Any, partitions: int, method: str) -> list[float | None]:
    """Result per event, by the whole of its window; null for those behind the watermark of their partition."""
    high: dict[int, int] = {}
    window_of: list[tuple[str, int] | None] = []
    windows: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for key, time, value in events:
        partition = partition_of(key.encode(), partitions)
        high[partition] = max(high.get(partition, time), time)
        end = (time - OFFSET_MS) // SIZE_MS * SIZE_MS + OFFSET_MS + SIZE_MS
        window_of.append(None if end <= high[partition] - DELAY_MS else (key, end))
        if value is not None and window_of[-1] is not None:
            windows[key, end].append(float(value))
    found: list[float | None] = []
    for (_, _, value), window in zip(events, window_of, strict=True):
        values = windows[window] if window is not None else []
        if value is None or len(set(values)) < 2:
            found.append(None)
        elif method == "min_max":
            found.append((value - min(values)) / (max(values) - min(values)))
        else:
            found.append((value - statistics.mean(values)) / statistics.stdev(values))
    return found


@settings(max_examples=60, deadline=None)
@given(TIMED, SHAPES, st.sampled_from(["min_max", "z_score"]))
def test_scales_of_a_window_are_those_of_all_its_values(events: Any, shape: Any, method: str) -> None:
    """Every row leaves once, whenever its window ended; late ones at once, with null."""
    partitions, chunk_size, fused, crashes = shape
    options = {"method": method, "size": SIZE_MS, "offset": OFFSET_MS, "into": "scaled"}
    nodes = {
        "events": {
            "kind": "source",
            "topic": "in",
            "schema": "E",
            "key": "k",
            "event_time": "t",
            "watermark_delay": DELAY_MS,
        },
        "it": {"kind": "normalize_window", "input": "events", "field": "x", **options},
        "out": {"kind": "sink", "input": "it", "topic": "out"},
    }
    schemas = {"E": {"n": "int", "k": "str", "t": "timestamp", "x": "float?"}}
    driver = Driver(
        bounded(make_plan(spec_of({"topology": "t", "schemas": schemas, "nodes": nodes}))),
        partitions=partitions,
        chunk_size=chunk_size,
        fused=fused,
    )
    driver.crash_at = crashes
    rows = [{"n": number, "k": key, "t": time, "x": value} for number, (key, time, value) in enumerate(events)]
    for start in range(0, len(rows), 17):
        driver.publish("in", rows[start : start + 17])
        driver.run()
    driver.finish()
    assert driver.dead_letters() == []
    found = sorted(driver.output("out"), key=lambda row: row["n"])
    assert [(row["n"], row["x"]) for row in found] == [(row["n"], row["x"]) for row in rows]
    for row, expected in zip(found, expected_of_windows(events, partitions, method), strict=True):
        assert same(row["scaled"], expected), row


def test_rows_that_wait_are_bounded() -> None:
    rows = [{"time": n, "sensor": "s", "value": float(n), "tags": None, "unit": None} for n in range(5)]
    found = run_kind(NormalizeWindow, rows, field="value", method="min_max", size="1s", max_rows=3)
    assert [row["value"] for row in found] == [0.0, 0.5, 1.0]
    with pytest.raises(TopologyError, match="the offset must be less than the size"):
        run_kind(NormalizeWindow, [], field="value", method="min_max", size="1s", offset="1s")


@pytest.mark.parametrize("method", ["min_max", "z_score"])
def test_values_that_cannot_be_added_up_leave_with_their_window(method: str) -> None:
    """With null; otherwise they would wait for ever."""
    values = (1e308, -1e308, 1.0, 2.0)
    rows = [{"time": n, "sensor": "s", "value": x, "tags": None, "unit": None} for n, x in enumerate(values)]
    for row, time in zip(rows, (0, 1, 1_000, 1_001), strict=True):
        row["time"] = time
    found = run_kind(NormalizeWindow, rows, field="value", method=method, size="1s")
    assert [row["value"] is None for row in found] == [True, True, False, False]


def plain_robust(past: list[float], value: float, history: int) -> float | None:
    """Score as the paper has it; infinite where no number says it."""
    last = past[-history:]
    middle = statistics.median(last)
    distances = [abs(each - middle) for each in last]
    mad = statistics.median(distances)
    scale = mad / 0.6745 if mad else 1.253314 * sum(distances) / len(distances)
    return abs(value - middle) / scale if scale else (0.0 if value == middle else math.inf)


def plain_ewma(past: list[float], value: float, alpha: float) -> float:
    """By the weights written out: the first value has (1-a)^(n-1), the i-th behind it a(1-a)^(n-1-i)."""
    count = len(past)
    weights = [(1 - alpha) ** (count - 1), *(alpha * (1 - alpha) ** (count - 1 - i) for i in range(1, count))]
    mean = sum(w * x for w, x in zip(weights, past, strict=True))
    variance = sum(w * (x - mean) ** 2 for w, x in zip(weights, past, strict=True))
    return abs(value - mean) / math.sqrt(variance) if variance > 0 else (0.0 if value == mean else math.inf)


@settings(max_examples=60, deadline=None)
@given(VALUES, SHAPES, st.integers(2, 6), st.integers(6, 9))
def test_robust_scores_are_those_of_the_last_values(events: Any, shape: Any, warm_up: int, history: int) -> None:
    config = {"method": "robust_z", "warm_up": warm_up, "history": history, "threshold": 3.0}
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for row, (key, value) in zip(run("anomaly", events, shape, **config), events, strict=True):
        expected = None
        if value is not None:
            if len(seen[key]) >= warm_up:
                expected = plain_robust(seen[key], float(value), history)
            seen[key].append(float(value))
        if expected == math.inf:
            assert (row["score"], row["anomaly"]) == (None, True)
        else:
            assert same(row["score"], expected)
            assert row["anomaly"] is (row["score"] is not None and row["score"] > 3.0)


def test_ewma_scores_are_those_of_the_weights() -> None:
    values = [math.sin(number) * 10 + (50 if number == 40 else 0) for number in range(60)]
    events: list[tuple[str, float | None]] = [("a", value) for value in values]
    found = run("anomaly", events, (1, 7, True, {2: CrashPoint.BEFORE_COMMIT}), method="ewma", alpha=0.2, warm_up=5)
    expected = [plain_ewma(values[:number], value, 0.2) if number >= 5 else None for number, value in enumerate(values)]
    assert all(same(row["score"], score) for row, score in zip(found, expected, strict=True))
    assert [row["n"] for row in found if row["anomaly"]] == [40]


def test_anomalies_alone_can_pass() -> None:
    rows = [{"time": n, "sensor": "s", "value": 100.0 if n == 30 else n % 3} for n in range(40)]
    (found,) = run_kind(Anomaly, rows, field="value", mode="filter")
    assert (found["time"], found["value"], "anomaly" in found) == (30, 100.0, False)
    assert found["score"] > 60


def test_statistics_are_in_the_table_and_survive_what_would_overflow() -> None:
    """The row that would spoil them becomes a dead letter, the others go on."""
    nodes = {
        "events": {"kind": "source", "topic": "in", "schema": "E", "key": "k"},
        "it": {"kind": "normalize_running", "input": "events", "field": "x", "method": "z_score"},
    }
    nodes["out"] = {"kind": "sink", "input": "it", "topic": "out"}
    spec = spec_of({"topology": "t", "schemas": {"E": {"k": "str", "x": "float"}}, "nodes": nodes})
    driver = Driver(make_plan(spec))
    driver.publish("in", [{"k": "a", "x": x} for x in (1.0, 1e300, 3.0)])
    driver.run()
    assert [each["sf-reason"] for each in driver.dead_letters()] == ["process"]
    assert driver.table("it") == {"a": {"count": 2, "mean": 2.0, "squares": 2.0}}
    counts = driver.tasks()[0].counters.by_node()["it"]
    assert (counts.rows_in, counts.rows_out, counts.dead) == (3, 2, 1)


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        (NormalizeRunning, {"field": "unit", "method": "z_score"}, "a number is needed, 'unit' is str"),
        (Anomaly, {"field": "speed"}, "unknown field 'speed'"),
        (Anomaly, {"field": "value", "warm_up": 60}, "warm_up is more than history"),
        (Anomaly, {"field": "value", "score": "unit"}, "the input has a field 'unit' already"),
        (Anomaly, {"field": "value", "score": "s", "flag": "s"}, "'s' is named twice"),
    ],
)
def test_what_cannot_run_is_told(kind: Any, config: dict[str, Any], told: str) -> None:
    with pytest.raises(TopologyError) as error:
        run_kind(kind, [], **config)
    assert told in str(error.value)
