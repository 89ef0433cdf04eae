"""What is loaded and what is refused: content, trust, adapters, the cache, drift."""

import gzip
import io
import pickle
import sys
import time
import zipfile
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
from onnx.external_data_helper import convert_model_to_external_data
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from streamflow.errors import ModelError
from streamflow.inference import adapter as adapters
from streamflow.inference.card import InputType, ModelCard, ModelInput, Task, measured
from streamflow.inference.content import format_of, refuse_external_data
from streamflow.inference.drift import WINDOW_ROWS, Drift
from streamflow.inference.models import Models, load
from streamflow.testing.sample_models import MemoryFiles, linear_model
from tests.inference.trained import classification, data, numbers, regression


def skops_card(files: MemoryFiles, model: Any, task: Task, inputs: tuple[ModelInput, ...], **options: Any) -> ModelCard:
    content = skops.io.dumps(model)
    return ModelCard("s", "1", "skops", task, files.add(content), len(content), inputs, options=options)


def test_formats_are_told_by_content() -> None:
    assert format_of(regression().data) == "onnx"
    assert format_of(skops.io.dumps(LogisticRegression())) == "skops"
    assert format_of(b'{"weights": [[1]], "intercepts": [0]}') == "linear"
    assert format_of(b"\x89HDF\r\n\x1a\n") == ""
    assert format_of(regression().data[:-1]) == ""  # cut off


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('was run')",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_refused_whatever_they_are_called(protocol: int) -> None:
    for held in (Evil(), {"weights": [1]}, [1, 2]):
        with pytest.raises(ModelError, match="pickle"):
            format_of(pickle.dumps(held, protocol))
    files = MemoryFiles()
    content = pickle.dumps(Evil(), protocol)
    card = ModelCard("m", "1", "onnx", Task.REGRESSION, files.add(content), len(content), numbers(4))
    with pytest.raises(ModelError, match="runs code when it is loaded"):
        load(card, files)


def test_what_hides_content_is_refused() -> None:
    with pytest.raises(ModelError, match="compressed"):
        format_of(gzip.compress(pickle.dumps(Evil())))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr("archive/data", pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="holds a pickle"):
        format_of(held.getvalue())
    with pytest.raises(ModelError, match="begins as a zip"):
        format_of(b"PK\x03\x04 and nothing")


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 64]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights]))
    refuse_external_data(model.SerializeToString())
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="weights in other files"):
        refuse_external_data((tmp_path / "m.onnx").read_bytes())


def test_a_card_that_lies_is_refused() -> None:
    trained, files = regression(), MemoryFiles()
    digest, size = files.add(trained.data), len(trained.data)
    trees = classification()
    wrong = ModelCard(
        "m", "1", "onnx", Task.CLASSIFICATION, files.add(trees.data), len(trees.data), numbers(4), labels=("a", "b")
    )
    for card, said in (
        (wrong, "has 3 classes, its card 2 labels"),
        (ModelCard("m", "1", "skops", Task.REGRESSION, digest, size, numbers(4)), "is called skops, its file is onnx"),
        (
            ModelCard("m", "1", "onnx", Task.REGRESSION, digest, size, numbers(3)),
            "does not do what its card says",
        ),
        (
            ModelCard("m", "1", "keras", Task.REGRESSION, files.add(b"\x89HDF"), 4, ()),
            "no adapter for models of format",
        ),
    ):
        with pytest.raises(ModelError, match=said):
            load(card, files)


def test_scikit_learn_through_skops() -> None:
    given, target = data()
    files, model = MemoryFiles(), LogisticRegression().fit(given, target > 0)
    loaded = load(skops_card(files, model, Task.CLASSIFICATION, numbers(4)), files)
    labels, chances = loaded.predict([given[:20, place].astype(float) for place in range(4)])
    assert labels.tolist() == model.predict(given[:20].astype(float)).tolist()
    assert np.array_equal(chances, model.predict_proba(given[:20].astype(float)))
    assert list(loaded.predictor.labels) == ["False", "True"]
    texts = ["a good day", "a bad day"] * 10
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["good", "bad"] * 10)
    text = load(skops_card(files, words, Task.CLASSIFICATION, (ModelInput("t", InputType.TEXT),)), files)
    assert text.predict([np.array(texts[:3], dtype=object)])[0].tolist() == ["good", "bad", "good"]
    forest = IsolationForest(n_estimators=5, random_state=1).fit(given.astype(float))
    odd = load(skops_card(files, forest, Task.ANOMALY, numbers(4), trusted=["sklearn.tree._tree.Tree"]), files)
    assert odd.predict([np.array([30.0])] * 4)[0].tolist() == [-1]
    with pytest.raises(ModelError, match="without transform; it cannot do embedding"):
        load(skops_card(files, model, Task.EMBEDDING, numbers(4)), files)


def _shout(given: Any) -> Any:
    return given * 2


def test_types_must_be_trusted_by_name() -> None:
    given, target = data()
    files, model = (
        MemoryFiles(),
        make_pipeline(FunctionTransformer(_shout), LogisticRegression()).fit(given, target > 0),
    )
    name = f"{_shout.__module__}._shout"
    with pytest.raises(ModelError, match="types that are not trusted"):
        load(skops_card(files, model, Task.CLASSIFICATION, numbers(4)), files)
    with pytest.raises(ModelError, match="list of names"):
        load(skops_card(files, model, Task.CLASSIFICATION, numbers(4), trusted=True), files)
    load(skops_card(files, model, Task.CLASSIFICATION, numbers(4), trusted=[name]), files)


def test_an_extra_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, files = regression(), MemoryFiles()
    card = trained.card(files)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'streamflow\[models\]'"):
        load(card, files)


class Doubler:
    """A model of another framework."""

    labels: Sequence[str] = ()

    def predict(self, columns: Sequence[Any]) -> Sequence[Any]:
        return [columns[0] * 2]


def load_doubler(content: bytes, card: ModelCard) -> Doubler:
    """As an entry point names it."""
    assert content == b"double"
    return Doubler()


def test_other_frameworks_come_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("doubler", f"{__name__}:load_doubler", adapters.GROUP)

    def points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if name in (None, "doubler") else []

    monkeypatch.setattr(adapters, "entry_points", points)
    files = MemoryFiles()
    card = ModelCard("d", "1", "doubler", Task.REGRESSION, files.add(b"double"), 6, numbers(1))
    assert load(card, files).predict([np.array([1.0, 2.5])])[0].tolist() == [2.0, 5.0]
    assert adapters.formats() == ["doubler", "linear", "onnx", "skops"]


def test_the_least_recently_used_model_goes() -> None:
    """With room for two, A, B, A again, C drops B."""
    files = MemoryFiles()
    cards = {name: linear_model(files, name, "1", [[float(place)]]) for place, name in enumerate("abc")}
    cache = Models(files, 2 * cards["a"].size_bytes)
    for name in "abac":
        cache.get(cards[name])
    assert (cache.loads, cache.hits) == (3, 1)
    cache.get(cards["a"])
    cache.get(cards["c"])
    assert (cache.loads, cache.hits) == (3, 3)
    cache.get(cards["b"])
    assert cache.loads == 4
    # One that is larger than the bound is held alone.
    small = Models(files, 1)
    assert small.get(cards["a"]) is small.get(cards["a"])


def test_a_model_is_loaded_beside_the_work() -> None:
    files = MemoryFiles()
    card = linear_model(files, "a", "1", [[1.0]])
    cache = Models(files, 1 << 20, background=True)
    deadline = time.monotonic() + 60
    while not cache.is_ready(card):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert (cache.loads, cache.get(card).card) == (1, card)


def test_drift_is_measured_against_the_training_data() -> None:
    chance = np.random.default_rng(1)
    trained = chance.normal(size=20_000)
    inputs = (measured("x", trained.tolist()), measured("shop", ["a", None, "b"]))
    assert (inputs[0].type, len(inputs[0].shares), inputs[1].type) == (InputType.NUMBER, 10, InputType.TEXT)
    assert abs(sum(inputs[0].shares) - 1) < 1e-4
    drift, shops = Drift(inputs), np.array(["a"] * 4_000, dtype=object)
    drift.add([chance.normal(size=499), shops[:499]])
    assert drift.index() == {}, "a few rows say nothing"
    drift.add([chance.normal(size=4_000), shops])
    assert drift.index()["x"] < 0.02
    drift.add([chance.normal(1.5, size=4_000), shops])
    assert drift.index()["x"] > 0.25
    # What was long ago is forgotten.
    for _ in range(12):
        drift.add([chance.normal(size=WINDOW_ROWS), np.array(["a"] * WINDOW_ROWS, dtype=object)])
    assert drift.index()["x"] < 0.05
    # An independent formula over the same bins.
    edges, shares = np.array(inputs[0].edges), np.array(inputs[0].shares)
    other, came = Drift(inputs), chance.normal(0.3, 1.2, size=5_000)
    other.add([came, shops])
    found = np.histogram(came, bins=[-np.inf, *edges, np.inf])[0] / 5_000
    assert np.isclose(other.index()["x"], np.sum((found - shares) * np.log(found / shares)), rtol=1e-3)
