"""scikit-learn models that skops wrote. Types outside of its own list must be trusted by name: `options.trusted`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamflow.errors import ModelError
from streamflow.inference.adapter import Column, matrix, missing_package
from streamflow.inference.card import InputType, ModelCard, Task

#: The methods that give a task's columns.
_METHODS = {
    Task.REGRESSION: ("predict",),
    Task.CLASSIFICATION: ("predict", "predict_proba"),
    Task.CLUSTERING: ("predict",),
    Task.EMBEDDING: ("transform",),
    Task.ANOMALY: ("predict", "decision_function"),
}


class SkopsModel:
    """An estimator, or a pipeline of them. One text input is given as a list of texts, others as one array."""

    def __init__(self, estimator: Any, card: ModelCard) -> None:
        lacking = [name for name in _METHODS[card.task] if not hasattr(estimator, name)]
        if lacking:
            what = type(estimator).__name__
            raise ModelError(f"model {card.id} is a {what} without {lacking[0]}; it cannot do {card.task}")
        self._methods = [getattr(estimator, name) for name in _METHODS[card.task]]
        self._types = [each.type for each in card.inputs]
        self.labels = tuple(str(label) for label in getattr(estimator, "classes_", ()))

    def predict(self, columns: Sequence[Column]) -> Sequence[Column]:
        """See adapter.py."""
        given: Any
        if self._types == [InputType.TEXT]:
            given = columns[0].tolist()
        elif InputType.TEXT in self._types:
            given = matrix(columns, np.object_)
        else:
            given = matrix(columns, np.float64)
        return [_dense(method(given)) for method in self._methods]


def _dense(found: Any) -> Column:
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def load(data: bytes, card: ModelCard) -> SkopsModel:
    """A model of a skops file. Raises ModelError that names what is not trusted."""
    try:
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException
    except ImportError as error:
        raise missing_package("skops") from error
    trusted = card.options.get("trusted", [])
    if not (isinstance(trusted, list) and all(isinstance(name, str) for name in trusted)):
        raise ModelError(f"option trusted of model {card.id} is a list of names of types, not {trusted!r}")
    try:
        return SkopsModel(skops.io.loads(data, trusted=trusted), card)
    except UntrustedTypesFoundException as error:
        raise ModelError(
            f"model {card.id} has types that are not trusted, look at them and --trust them: {error}"
        ) from error
    except ModelError:
        raise
    except Exception as error:  # a file that is damaged, or of another version of scikit-learn
        raise ModelError(f"model {card.id} cannot be loaded by skops: {error!r}") from error
