"""Models that PyTorch, Transformers and Keras made and exported: a topology gives what they gave there.

How they were made stands in the scripts beside them; the frameworks themselves are in no environment of the product.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamflow.inference.card import InputType, ModelInput, Task
from streamflow.testing.sample_models import MemoryFiles
from tests.inference.test_tasks import run
from tests.inference.trained import Trained, numbers

_FOLDER = Path(__file__).parent / "exported"
_TOKENS = (ModelInput("tokens", InputType.LIST),)


@pytest.mark.parametrize(
    ("name", "task", "labels"),
    [
        ("network", Task.CLASSIFICATION, ("low", "middle", "high")),
        ("bert", Task.CLASSIFICATION, ("without", "with")),
        ("keras", Task.REGRESSION, ()),
        ("saved", Task.REGRESSION, ()),
    ],
)
def test_a_topology_gives_what_the_framework_gave(name: str, task: Task, labels: tuple[str, ...]) -> None:
    made = json.loads((_FOLDER / f"{name}.json").read_text())
    is_text = name == "bert"
    rows: list[Any] = [(row,) if is_text else tuple(row) for row in made["rows"]]
    files, data = MemoryFiles(), (_FOLDER / f"{name}.onnx").read_bytes()
    trained = Trained(task, data, _TOKENS if is_text else numbers(4), rows, list, labels)
    driver = run(trained, [trained.card(files)], files, chunk_size=16)
    assert driver.dead_letters() == []
    found = driver.output("out")
    assert [row["id"] for row in found] == [place for place in range(40) if place % 7 != 3]
    for row in found:
        gave = made["gives"][row["id"]]
        if task is Task.REGRESSION:
            assert np.allclose(row["prediction"], gave[0], rtol=1e-5, atol=1e-5)
        else:
            assert row["label"] == labels[int(np.argmax(gave))]
            assert np.allclose(row["confidence"], max(gave), rtol=1e-5, atol=1e-5)
    if labels:
        assert {row["label"] for row in found} == set(labels)
