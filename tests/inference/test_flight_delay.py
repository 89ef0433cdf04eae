"""The sample topology: its shipped model over real departures that it has not seen, against the model outside."""

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import onnxruntime
import pytest

from streamflow.inference.card import ModelCard, ModelInput, Task
from streamflow.inference.models import Models
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.testing.sample_models import MemoryFiles
from streamflow.topology.load import load_topology

ZONE = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def training(request: pytest.FixtureRequest) -> ModuleType:
    """The module train.py."""
    path = request.config.rootpath / "topologies/flight_delay/train.py"
    spec = importlib.util.spec_from_file_location("flight_delay_train", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def departures(training: ModuleType) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Some that were learned from, and every tenth of the rest."""
    learned, rest = training.parts()
    return learned[::20], rest[::10]


def _truth(root: Path, rows: list[dict[str, Any]]) -> Any:
    """What the shipped model says, asked directly for all at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several threads add the trees up in another order
    session = onnxruntime.InferenceSession((root / "topologies/flight_delay/model.onnx").read_bytes(), options)
    moments = [datetime.fromtimestamp(each["time"] / 1_000, UTC) for each in rows]
    numbers = {
        "hour": [each.hour for each in moments],
        "weekday": [each.isoweekday() for each in moments],
        "distance": [each["distance"] for each in rows],
    }
    given = {name: np.array([[each[name]] for each in rows], dtype=object) for name in ("carrier", "origin")}
    given |= {name: np.array(values, np.float32).reshape(-1, 1) for name, values in numbers.items()}
    return session.run(None, given)[0].reshape(-1)


def test_its_error_is_that_of_the_model_outside(
    root: Path, departures: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    rest, folder, files = departures[1], root / "topologies/flight_delay", MemoryFiles()
    data, facts = (folder / "model.onnx").read_bytes(), json.loads((folder / "card.json").read_text())
    assert len(data) < 300_000
    inputs = msgspec.convert(facts["inputs"], tuple[ModelInput, ...])
    card = ModelCard("flight_delay", "1", "onnx", Task.REGRESSION, files.add(data), len(data), inputs)
    driver = Driver(bounded(make_plan(load_topology(folder))), partitions=2, models=Models(files, 1 << 24))
    driver.put("streamflow.models", *card.record())
    driver.publish("flight_delay.departures", rest, timestamp_ms=rest[-1]["time"])
    driver.finish()
    truth = _truth(root, rest)
    found = {
        (row["time"], row["origin"], row["dest"], row["carrier"]): row
        for row in driver.output("flight_delay.predictions")
    }
    for each, expected in zip(rest, truth.tolist(), strict=True):
        row = found[each["time"], each["origin"], each["dest"], each["carrier"]]
        assert row["prediction"] == expected
    months: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for each, expected in zip(rest, truth.tolist(), strict=True):
        month = datetime.fromtimestamp(each["time"] / 1_000, ZONE).month
        both = abs(each["dep_delay"] - expected), abs(each["dep_delay"] - 13.73)
        months.setdefault((each["origin"], month), []).append(both)
    results = driver.output("flight_delay.errors")
    for row in results:
        month = datetime.fromtimestamp(row["start"] / 1_000, ZONE).month
        errors = np.array(months.pop((row["origin"], month)))
        assert row["departures"] == len(errors)
        assert np.allclose([row["mean_error"], row["mean_error_of_mean"]], errors.mean(axis=0))
    assert months == {}
    # It knows something, if little: better than always saying the mean.
    total = sum(row["departures"] for row in results)
    wrong = [
        sum(row[name] * row["departures"] for row in results) / total for name in ("mean_error", "mean_error_of_mean")
    ]
    assert 19 < wrong[0] < wrong[1] - 0.5
    (counts,) = [
        scorer.counts["1"] for task in driver.tasks() for scorer in task.scorers.all if scorer.counts
        if task.partition == 0
    ]  # fmt: skip
    assert counts.drift is not None
    drift = counts.drift.index()
    assert set(drift) == {"hour", "weekday", "distance"}
    assert drift["weekday"] < 0.1


def test_the_training_script_makes_such_a_model(
    training: ModuleType, departures: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    learned, rest = departures
    trained = training.train(learned)
    session = onnxruntime.InferenceSession(trained.onnx)
    frame = training.frame_of(rest[:200])
    given = {name: frame[name].to_numpy(dtype=object).reshape(-1, 1) for name in training.TEXTS}
    given |= {name: frame[name].to_numpy(dtype=np.float32).reshape(-1, 1) for name in training.NUMBERS}
    assert np.allclose(session.run(None, given)[0].reshape(-1), trained.model.predict(frame), rtol=1e-3, atol=1e-3)
    assert [each["name"] for each in trained.card["inputs"]] == ["carrier", "origin", "hour", "weekday", "distance"]
