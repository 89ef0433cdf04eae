"""Every task with a real model, in the engine: what a topology gives is what the model gives outside, in any shape."""

from typing import Any

import numpy as np
import pytest

from streamflow.inference.card import ModelCard
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.testing.sample_models import MemoryFiles
from streamflow.topology.document import spec_of
from tests.inference.trained import MODELS, Trained, models


def topology(trained: Trained, **config: Any) -> dict[str, Any]:
    """source → filter → model → sink over fields f0, f1, …"""
    types = {"number": "float", "text": "str", "list": "json"}
    fields = {f"f{place}": types[each.type] for place, each in enumerate(trained.inputs)}
    scored = {"kind": "model", "input": "wanted", "model": "m", "task": trained.task.value, "features": list(fields)}
    return {
        "topology": "t",
        "schemas": {"Row": {"time": "timestamp", "id": "int", **fields}},
        "nodes": {
            "rows": {"kind": "source", "topic": "rows", "schema": "Row", "event_time": "time", "key": "id"},
            "wanted": {"kind": "filter", "input": "rows", "where": "id % 7 != 3"},
            "scored": scored | config,
            "out": {"kind": "sink", "input": "scored", "topic": "out"},
        },
    }


def events(trained: Trained) -> list[dict[str, Any]]:
    """One event per row of the model's."""
    return [
        {"time": 1_000_000 + place, "id": place, **{f"f{at}": value for at, value in enumerate(row)}}
        for place, row in enumerate(trained.rows)
    ]


def run(trained: Trained, cards: list[ModelCard], files: MemoryFiles, config: Any = None, **shape: Any) -> Driver:
    """All events, worked through."""
    crashes = shape.pop("crashes", {})
    driver = Driver(make_plan(spec_of(topology(trained, **(config or {})))), models=models(files), **shape)
    driver.crash_at = crashes
    for card in cards:
        driver.put("streamflow.models", *card.record())
    driver.publish("rows", events(trained), timestamp_ms=1_000_000)
    driver.run()
    return driver


@pytest.mark.parametrize("name", MODELS)
def test_a_topology_gives_what_the_model_gives(name: str) -> None:
    trained, files = MODELS[name](), MemoryFiles()
    cards = [trained.card(files)]
    driver = run(trained, cards, files)
    found = {row["id"]: row for row in driver.output("out")}
    wanted = [place for place in range(len(trained.rows)) if place % 7 != 3]
    truth = dict(zip(wanted, trained.truth([trained.rows[place] for place in wanted]), strict=True))
    assert sorted(found) == wanted
    given = ["time", "id", *(f"f{at}" for at in range(len(trained.inputs)))]
    for place, row in found.items():
        answer = [value for field, value in row.items() if field not in given and field != "model_version"]
        assert row["model_version"] == "1"
        for value, expected in zip(answer, truth[place], strict=True):
            if isinstance(value, str | bool):
                assert value == expected
            else:
                assert np.allclose(value, expected, rtol=1e-4, atol=1e-4), (row, truth[place])
    assert driver.dead_letters() == []
    (counts,) = [scorer.counts["1"] for task in driver.tasks() for scorer in task.scorers.all]
    assert (counts.calls, counts.rows) == (1, len({trained.rows[place] for place in wanted}))
    # Bit by bit, however the rows are cut, and when tasks die.
    expected = [(record.key, record.value) for record in driver.records("out")]
    for shape in ({"chunk_size": 1}, {"chunk_size": 7, "fused": False}, {"chunk_size": 13, "crashes": _CRASHES}):
        again = run(trained, cards, files, **shape)
        assert [(record.key, record.value) for record in again.records("out")] == expected, shape


_CRASHES = {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE}


def test_likeliest_classes_and_a_floor_of_confidence() -> None:
    trained, files = MODELS["classification"](), MemoryFiles()
    cards = [trained.card(files)]
    every = run(trained, cards, files, {"top_k": 2}).output("out")
    assert all(row["top"][0]["label"] == row["label"] for row in every)
    assert all(row["top"][0]["confidence"] == row["confidence"] >= row["top"][1]["confidence"] for row in every)
    assert {len(row["top"]) for row in every} == {2}
    sure = run(trained, cards, files, {"min_confidence": 0.7}).output("out")
    assert [row["id"] for row in sure] == [row["id"] for row in every if row["confidence"] >= 0.7]
    assert 0 < len(sure) < len(every)


def test_an_image_has_its_five_likeliest_classes_and_a_broken_one_is_put_aside() -> None:
    trained, files = MODELS["image"](), MemoryFiles()
    rows: list[Any] = [*trained.rows[:4], ("no pixels",), (None,), trained.rows[6]]
    some = Trained(trained.task, trained.data, trained.inputs, rows, trained.truth)
    driver = run(some, [some.card(files)], files, {"top_k": 5})
    found = {row["id"]: row for row in driver.output("out")}
    assert sorted(found) == [0, 1, 2, 6]
    for place, row in found.items():
        ((label, chance),) = trained.truth([rows[place]])
        assert row["label"] == row["top"][0]["label"] == label
        assert np.isclose(row["confidence"], chance, rtol=1e-4)
        chances = [each["confidence"] for each in row["top"]]
        assert len(chances) == 5
        assert chances == sorted(chances, reverse=True)
    assert sorted(letter["sf-offset"] for letter in driver.dead_letters()) == ["4", "5"]


def test_a_batch_is_one_call() -> None:
    """100 items in batches of 16 are 7 calls."""
    trained, files = MODELS["sequence"](), MemoryFiles()
    rows = [((float(place), 1.0, 2.0, 3.0),) for place in range(117)]  # 100 pass the filter
    trained = Trained(trained.task, trained.data, trained.inputs, rows, trained.truth)
    driver = run(trained, [trained.card(files)], files, {"batch_rows": 16})
    assert len(driver.output("out")) == 100
    assert [scorer.counts["1"].calls for task in driver.tasks() for scorer in task.scorers.all] == [7]


def test_rows_that_a_model_cannot_take_are_put_aside() -> None:
    trained, files = MODELS["sequence"](), MemoryFiles()
    rows: list[Any] = [((0.1, 0.2, 0.3, 0.4),), ("text",), ((0.1, 0.2),), ("",), (None,), ((0.4, 0.3, 0.2, 0.1),)]
    odd = Trained(trained.task, trained.data, trained.inputs, rows, trained.truth)
    driver = run(odd, [odd.card(files)], files)
    assert [row["id"] for row in driver.output("out")] == [0, 5]
    letters = {letter["sf-offset"]: letter["sf-reason"] for letter in driver.dead_letters()}
    assert letters == {"1": "model_input", "2": "model", "4": "model_input"}
