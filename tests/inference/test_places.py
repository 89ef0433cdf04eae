"""Models anywhere in a topology: ahead where rows are only computed, else as they come; the same answers in any shape."""

from typing import Any

import pytest

from streamflow.inference.models import Models
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.testing.sample_models import MemoryFiles, linear_model
from streamflow.topology.document import spec_of

_MODEL = {"kind": "model", "task": "regression", "model": "m", "features": ["x", "y"]}
DOCUMENT: dict[str, Any] = {
    "topology": "t",
    "schemas": {
        "Row": {"time": "timestamp", "id": "str", "x": "float", "parts": "json"},
        "Item": {"id": "str", "weight": "float"},
    },
    "nodes": {
        "rows": {"kind": "source", "topic": "rows", "schema": "Row", "event_time": "time", "key": "id"},
        "items": {"kind": "global_table", "topic": "items", "schema": "Item", "key": "id"},
        # Ahead: behind a lookup that drops rows, a map, both outputs of a branch that meet again, and a new key.
        "weighed": {"kind": "lookup", "input": "rows", "table": "items", "key": "id", "missing": "drop"},
        "doubled": {"kind": "map", "input": "weighed", "keep": ["time", "id", "parts"],
                    "set": {"x": "x * 2", "y": "weight"}},
        "router": {"kind": "branch", "input": "doubled", "outputs": {"high": "x > 20", "low": "x < 10"}},
        "swapped": {"kind": "map", "input": "router.high", "keep": ["time", "id", "parts"], "set": {"x": "y", "y": "x"}},
        "other": {"kind": "key_by", "inputs": ["swapped", "router.low"], "key": "id"},
        "first": _MODEL | {"input": "other", "prefix": "a_"},
        "first_out": {"kind": "sink", "input": "first", "topic": "first"},
        # Ahead, several rows of one: behind a flat_map.
        "each": {"kind": "flat_map", "input": "doubled", "list": "parts", "into": "part", "type": "float"},
        "second": _MODEL | {"input": "each", "features": ["x", "part"]},
        "second_out": {"kind": "sink", "input": "second", "topic": "second"},
        # As they come: behind a window.
        "hourly": {"kind": "window", "input": "rows", "window": {"type": "tumbling", "size": "1m"},
                   "aggregate": {"x": "sum(x)", "n": "count()"}},
        "third": _MODEL | {"input": "hourly", "features": ["x", "n"]},
        "third_out": {"kind": "sink", "input": "third", "topic": "third"},
    },
}  # fmt: skip
TOPICS = ("first", "second", "third")


def events() -> list[dict[str, Any]]:
    return [
        {"time": place * 5_000, "id": f"k{place % 9}", "x": float(place % 17), "parts": [place, place / 2][: place % 3]}
        for place in range(120)
    ]


def expected() -> dict[str, list[Any]]:
    """prediction = x / 2 + 2 y, in plain Python."""
    weights = {f"k{place}": float(place) for place in range(7)}
    first, second, panes = [], [], dict[tuple[str, int], list[float]]()
    for row in events():
        panes.setdefault((row["id"], row["time"] // 60_000), []).append(row["x"])
        if row["id"] not in weights:
            continue
        x, y = row["x"] * 2, weights[row["id"]]
        second += [(row["id"], part, x / 2 + 2 * part) for part in row["parts"]]
        if x > 20:
            x, y = y, x
        elif x >= 10:
            continue
        first.append((row["id"], row["time"], x / 2 + 2 * y))
    third = [(key, minute * 60_000, sum(xs) / 2 + 2 * len(xs)) for (key, minute), xs in panes.items()]
    return {"first": sorted(first), "second": sorted(second), "third": sorted(third)}


def run(**shape: Any) -> Driver:
    crashes = shape.pop("crashes", {})
    files = MemoryFiles()
    driver = Driver(bounded(make_plan(spec_of(DOCUMENT))), models=Models(files, 1 << 20), **shape)
    driver.crash_at = crashes
    driver.put("streamflow.models", *linear_model(files, "m", "1", [[0.5, 2.0]]).record())
    driver.publish("items", [{"id": f"k{place}", "weight": float(place)} for place in range(7)])
    driver.run()
    driver.publish("rows", events(), timestamp_ms=1_000_000)
    driver.finish()
    return driver


def rows_of(driver: Driver) -> dict[str, list[Any]]:
    return {
        "first": sorted((row["id"], row["time"], row["a_prediction"]) for row in driver.output("first")),
        "second": sorted((row["id"], row["part"], row["prediction"]) for row in driver.output("second")),
        "third": sorted((row["id"], row["start"], row["prediction"]) for row in driver.output("third")),
    }


_CRASHES = dict.fromkeys(range(2, 60, 5), CrashPoint.BEFORE_COMMIT) | dict.fromkeys(
    range(4, 60, 5), CrashPoint.BEFORE_STORE
)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"chunk_size": 1},
        {"chunk_size": 7, "fused": False},
        {"partitions": 3, "chunk_size": 11, "crashes": _CRASHES},
    ],
)
def test_any_shape_gives_what_plain_python_gives(shape: dict[str, Any]) -> None:
    driver = run(**shape)
    assert rows_of(driver) == expected()
    assert driver.dead_letters() == []


def test_where_rows_are_only_computed_the_model_is_called_once_per_slice() -> None:
    (task,) = run(chunk_size=1_000).tasks()
    calls = {scorer.node: scorer.counts["1"].calls for scorer in task.scorers.all}
    assert (calls["first"], calls["second"]) == (1, 1)
    assert calls["third"] == len(expected()["third"])
