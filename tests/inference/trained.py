"""Real models, trained here in a second or two, with what is expected of them computed by their own libraries."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from streamflow.inference.card import InputType, ModelCard, ModelInput, Task
from streamflow.inference.models import Models
from streamflow.testing.sample_models import MemoryFiles

OPSET = {"": 17, "ai.onnx.ml": 3}
WORDS = {"good": ("fine", "great", "lovely", "happy"), "bad": ("awful", "broken", "late", "angry")}


@dataclass(frozen=True)
class Trained:
    """A model as ONNX with its card's facts; `truth` maps a row's inputs to the fields that are expected."""

    task: Task
    data: bytes
    inputs: tuple[ModelInput, ...]
    rows: list[tuple[Any, ...]]
    truth: Callable[[list[tuple[Any, ...]]], list[tuple[Any, ...]]]
    labels: tuple[str, ...] = ()

    def card(self, files: MemoryFiles, name: str = "m", version: str = "1") -> ModelCard:
        """Its card; the file is added to `files`."""
        digest = files.add(self.data)
        return ModelCard(name, version, "onnx", self.task, digest, len(self.data), self.inputs, labels=self.labels)


def numbers(count: int) -> tuple[ModelInput, ...]:
    """Inputs of numbers."""
    return tuple(ModelInput(f"x{place}", InputType.NUMBER) for place in range(count))


def matrix(rows: list[tuple[Any, ...]]) -> Any:
    """Rows of numbers as the models see them."""
    return np.array(rows, dtype=np.float32)


@lru_cache
def data() -> tuple[Any, Any]:
    """Numbers with one decimal, so that they are the same in 32 and 64 bits' JSON, and a target."""
    chance = np.random.default_rng(7)
    given = np.round(chance.normal(size=(600, 4)), 1).astype(np.float32)
    return given, given[:, 0] * 3 + np.abs(given[:, 1])


def rows_of(given: Any, count: int = 120) -> list[tuple[Any, ...]]:
    """Rows for a topology, as Python numbers."""
    return [tuple(round(float(value), 1) for value in row) for row in given[:count]]


def as_onnx(model: Any, **options: Any) -> bytes:
    """A model over four numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(model, initial_types=[("x", FloatTensorType([None, 4]))], target_opset=OPSET, **options)
    return bytes(made.SerializeToString())


def regression() -> Trained:
    """Gradient-boosted trees."""
    given, target = data()
    model = GradientBoostingRegressor(n_estimators=20, random_state=1).fit(given, target)
    return Trained(
        Task.REGRESSION, as_onnx(model), numbers(4), rows_of(given),
        lambda rows: [(value,) for value in model.predict(matrix(rows)).tolist()],
    )  # fmt: skip


def classification() -> Trained:
    """Three classes with names, by gradient boosting."""
    given, target = data()
    names = np.array(["low", "middle", "high"])[(target > 0).astype(int) + (target > 3)]
    model = GradientBoostingClassifier(n_estimators=8, random_state=1).fit(given, names)
    return Trained(
        Task.CLASSIFICATION, as_onnx(model, options={id(model): {"zipmap": False}}), numbers(4), rows_of(given),
        lambda rows: list(zip(model.predict(matrix(rows)), model.predict_proba(matrix(rows)).max(axis=1), strict=True)),
        tuple(model.classes_.tolist()),
    )  # fmt: skip


def logistic() -> Trained:
    """A matrix product, which is computed in another way for one row than for several."""
    given, target = data()
    model = LogisticRegression().fit(given, (target > 0).astype(int) + (target > 3))
    return Trained(
        Task.CLASSIFICATION, as_onnx(model, options={id(model): {"zipmap": False}}), numbers(4), rows_of(given),
        lambda rows: [
            (str(label), chance)
            for label, chance in zip(
                model.predict(matrix(rows)), model.predict_proba(matrix(rows)).max(axis=1), strict=True
            )
        ],
    )  # fmt: skip


def clustering() -> Trained:
    """Nearest of four centres."""
    given, _ = data()
    model = KMeans(4, n_init=1, random_state=1).fit(given)
    return Trained(
        Task.CLUSTERING, as_onnx(model), numbers(4), rows_of(given),
        lambda rows: [(value,) for value in model.predict(matrix(rows)).tolist()],
    )  # fmt: skip


def embedding() -> Trained:
    """Two principal components."""
    given, _ = data()
    model = PCA(2).fit(given)
    return Trained(
        Task.EMBEDDING, as_onnx(model), numbers(4), rows_of(given),
        lambda rows: [(vector,) for vector in model.transform(matrix(rows)).tolist()],
    )  # fmt: skip


def anomaly() -> Trained:
    """An isolation forest, with far points among the rows."""
    given, _ = data()
    model = IsolationForest(n_estimators=20, random_state=1).fit(given)
    rows = [*rows_of(given), (30.0, -30.0, 30.0, -30.0)]
    return Trained(
        Task.ANOMALY, as_onnx(model), numbers(4), rows,
        lambda rows: list(
            zip(model.predict(matrix(rows)) < 0, model.decision_function(matrix(rows)), strict=True)
        ),
    )  # fmt: skip


def text() -> Trained:
    """Bag of words to a logistic regression. Lowering letters in ONNX needs a locale that few machines have."""
    chance = np.random.default_rng(3)
    texts, labels = [], []
    for place in range(200):
        label = ("good", "bad")[place % 2]
        texts.append(" ".join(["the", "flight", "was", *chance.choice(WORDS[label], 3)]))
        labels.append(label)
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(texts, labels)
    made = to_onnx(
        model, initial_types=[("text", StringTensorType([None, 1]))], target_opset=OPSET,
        options={id(model[-1]): {"zipmap": False}},
    )  # fmt: skip
    return Trained(
        Task.CLASSIFICATION, bytes(made.SerializeToString()), (ModelInput("text", InputType.TEXT),),
        [(each,) for each in texts[:60]],
        lambda rows: list(
            zip(
                model.predict([each for (each,) in rows]),
                model.predict_proba([each for (each,) in rows]).max(axis=1),
                strict=True,
            )
        ),
        tuple(model.classes_.tolist()),
    )  # fmt: skip


def sequence() -> Trained:
    """The next value of a wave from its last four, by a small network over lists."""
    wave = np.round(np.sin(np.arange(400) / 5), 3)
    windows = np.stack([wave[place : place + 4] for place in range(390)]).astype(np.float32)
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=1).fit(windows, wave[4:394])
    rows = [(tuple(round(float(value), 3) for value in row),) for row in windows[:60]]
    return Trained(
        Task.REGRESSION, as_onnx(model), (ModelInput("last", InputType.LIST),), rows,
        lambda rows: [(value,) for value in model.predict(matrix([row for (row,) in rows])).tolist()],
    )  # fmt: skip


def image() -> Trained:
    """Handwritten digits of 8 x 8 pixels, each a list of 64 numbers, by a logistic regression."""
    digits = load_digits()
    model = LogisticRegression(max_iter=500).fit(digits.data[:600] / 16, digits.target[:600])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = to_onnx(
            model, initial_types=[("x", FloatTensorType([None, 64]))], target_opset=OPSET,
            options={id(model): {"zipmap": False}},
        )  # fmt: skip
    rows = [(tuple((pixels / 16).tolist()),) for pixels in digits.data[600:660]]
    return Trained(
        Task.CLASSIFICATION, bytes(made.SerializeToString()), (ModelInput("pixels", InputType.LIST),), rows,
        lambda rows: [
            (str(label), chance)
            for label, chance in zip(
                model.predict(matrix([row for (row,) in rows])),
                model.predict_proba(matrix([row for (row,) in rows])).max(axis=1),
                strict=True,
            )
        ],
    )  # fmt: skip


def mixed() -> Trained:
    """A text and two numbers, each an input of its own: a one-hot code before boosted trees."""
    chance = np.random.default_rng(5)
    frame = pd.DataFrame({"shop": chance.choice(["a", "b", "c"], 300), "x": np.round(chance.normal(size=300), 1)})
    frame["y"] = np.round(chance.normal(size=300), 1)
    target = frame["x"] * 2 + (frame["shop"] == "b") * 5
    coder = ColumnTransformer([("shop", OneHotEncoder(), ["shop"]), ("rest", "passthrough", ["x", "y"])])
    model = make_pipeline(coder, GradientBoostingRegressor(n_estimators=20, random_state=1)).fit(frame, target)
    kinds = [("shop", StringTensorType([None, 1])), *((name, FloatTensorType([None, 1])) for name in ("x", "y"))]
    made = to_onnx(model, initial_types=kinds, target_opset=OPSET)
    inputs = (ModelInput("shop", InputType.TEXT), ModelInput("x", InputType.NUMBER), ModelInput("y", InputType.NUMBER))
    rows = [(str(shop), float(x), float(y)) for shop, x, y in frame.itertuples(index=False)][:100]
    return Trained(
        Task.REGRESSION, bytes(made.SerializeToString()), inputs, rows,
        lambda rows: [(v,) for v in model.predict(pd.DataFrame(rows, columns=["shop", "x", "y"])).tolist()],
    )  # fmt: skip


MODELS: dict[str, Callable[[], Trained]] = {
    made.__name__: made
    for made in (
        regression, classification, logistic, clustering, embedding, anomaly, text, sequence, image, mixed,
    )
}  # fmt: skip


def models(files: MemoryFiles) -> Models:
    """A cache over files in memory."""
    return Models(files, 64 << 20)
