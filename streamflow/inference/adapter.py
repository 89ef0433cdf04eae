"""What makes a model of a file: one adapter per format, built in or of an installed package.

    [project.entry-points."streamflow.model_adapters"]
    booster = "my_package.booster:load"             the name is the format that cards say

    def load(data: bytes, card: ModelCard) -> Predictor

`predict` takes one column per input of the card, all of one length: float64 arrays for numbers, object arrays of str
for texts, arrays of two dimensions for lists. It gives the columns of the card's task, a row per row:

    regression      values
    classification  labels and probabilities (a column per class, in the order of `labels`), or probabilities alone
    clustering      cluster numbers
    embedding       vectors
    anomaly         -1 (anomaly) or 1, and scores (the lower the stranger), as scikit-learn has them

A row's answer must not depend on the other rows of the call.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from streamflow.errors import ModelError
from streamflow.inference.card import ModelCard
from streamflow.model.late_import import LateImport

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Column = npt.NDArray[Any]
else:
    np, Column = LateImport("numpy"), Any

GROUP = "streamflow.model_adapters"


class Predictor(Protocol):
    """A loaded model. `labels`: names of the classes that probabilities stand for; empty when it does not know."""

    labels: Sequence[str]

    def predict(self, columns: Sequence[Column]) -> Sequence[Column]:
        """Columns in, columns out; see above."""


Load = Callable[[bytes, ModelCard], Predictor]

_BUILT_IN: Mapping[str, str] = {
    "onnx": "streamflow.inference.onnx_adapter",
    "skops": "streamflow.inference.skops_adapter",
    "linear": "streamflow.inference.linear_adapter",
}


def formats() -> list[str]:
    """Names of all formats there are adapters for."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def adapter(name: str) -> Load:
    """The adapter of a format, imported when it is first asked for. Raises ModelError."""
    if name in _BUILT_IN:
        load: Load = import_module(_BUILT_IN[name]).load
        return load
    points = list(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        what = "no adapter" if not points else f"{len(points)} adapters"
        raise ModelError(f"there is {what} for models of format {name!r}; there are {', '.join(formats())}")
    try:
        load = points[0].load()
    except Exception as error:  # whatever a foreign module raises
        raise ModelError(f"the adapter {points[0].value} of format {name!r} cannot be loaded: {error!r}") from error
    return load


def matrix(columns: Sequence[Column], kind: Any) -> Column:
    """Columns of numbers and lists side by side: one row per row."""
    return np.concatenate([each.reshape(len(each), -1) for each in columns], axis=1).astype(kind, copy=False)


def missing_package(name: str) -> ModelError:
    """An extra is not installed."""
    return ModelError(f"{name} is not installed, which loads this model: pip install 'streamflow[models]'")
