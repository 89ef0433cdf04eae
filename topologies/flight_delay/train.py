"""Trains the model of this topology: python topologies/flight_delay/train.py

On the departures of the first nine months of 2013; the last three are for judging it. Writes `model.onnx` and
`card.json` beside this file. What is known before a departure: airline, airport, hour and weekday (UTC), distance.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from streamflow.cli.departures import data_folder, read_departures
from streamflow.inference.card import measured

TEXTS, NUMBERS = ("carrier", "origin"), ("hour", "weekday", "distance")
#: 2013-10-01 UTC: what comes before is for training.
SPLIT_MS = 1_380_585_600_000
#: Departures of the first nine months that are learned from, evenly spread: more change little.
LEARNED = 60_000


class Trained(NamedTuple):
    """The model, its file and its card, and the mean delay of the training data in minutes."""

    model: Pipeline
    onnx: bytes
    card: dict[str, Any]
    mean_delay: float


def frame_of(departures: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Features of departures."""
    moments = [datetime.fromtimestamp(each["time"] / 1_000, UTC) for each in departures]
    columns = {name: [each[name] for each in departures] for name in TEXTS}
    columns |= {
        "hour": [each.hour for each in moments],
        "weekday": [each.isoweekday() for each in moments],
        "distance": [each["distance"] for each in departures],
    }
    return pd.DataFrame(columns)


def train(departures: Sequence[dict[str, Any]]) -> Trained:
    """A model of these departures, all of which were flown."""
    frame, delays = frame_of(departures), np.array([each["dep_delay"] for each in departures])
    coder = ColumnTransformer(
        [("coded", OneHotEncoder(handle_unknown="ignore"), list(TEXTS)), ("rest", "passthrough", list(NUMBERS))]
    )
    trees = GradientBoostingRegressor(n_estimators=60, max_depth=4, subsample=0.5, random_state=1)
    model = make_pipeline(coder, trees).fit(frame, delays)
    kinds = [(name, StringTensorType([None, 1])) for name in TEXTS]
    kinds += [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    made = to_onnx(model, initial_types=kinds, target_opset={"": 17, "ai.onnx.ml": 3})
    inputs = [measured(name, frame[name].tolist()) for name in frame.columns]
    card = {
        "task": "regression",
        "inputs": [
            {"name": each.name, "type": each.type, "edges": each.edges, "shares": each.shares} for each in inputs
        ],
    }
    return Trained(model, bytes(made.SerializeToString()), card, float(delays.mean()))


def parts() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(for training, for judging): departures that were flown, in order of time."""
    flown = [each for each in read_departures(data_folder()) if each["dep_delay"] is not None]
    before = [each for each in flown if each["time"] < SPLIT_MS]
    return before[:: max(1, len(before) // LEARNED)], [each for each in flown if each["time"] >= SPLIT_MS]


def main() -> None:
    """Train, write, and say how good it is."""
    learned, rest = parts()
    trained = train(learned)
    folder = Path(__file__).parent
    (folder / "model.onnx").write_bytes(trained.onnx)
    (folder / "card.json").write_text(json.dumps(trained.card, indent=1) + "\n")
    delays = np.array([each["dep_delay"] for each in rest])
    found = trained.model.predict(frame_of(rest))
    print(f"{len(learned)} learned, mean delay {trained.mean_delay:.2f} min; {len(rest)} judged")
    for name, guess in (("model", found), ("mean", np.full(len(rest), trained.mean_delay))):
        error = np.abs(delays - guess)
        print(f"{name}: mean absolute error {error.mean():.2f} min, root mean square {np.sqrt((error**2).mean()):.2f}")


if __name__ == "__main__":
    main()
