"""Linear and logistic models as JSON, which need nothing installed: {"weights": [[…], …], "intercepts": […]}.

A row of weights per output. A regression has one; a classification gives the softmax of them, one per class.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from streamflow.errors import ModelError
from streamflow.inference.adapter import Column, matrix
from streamflow.inference.card import ModelCard, Task


class _File(msgspec.Struct, forbid_unknown_fields=True):
    weights: list[list[float]]
    intercepts: list[float]


class LinearModel:
    """The weights, and what is made of their sums."""

    def __init__(self, file: _File, card: ModelCard) -> None:
        if len(file.weights) != len(file.intercepts) or len({len(row) for row in file.weights}) != 1:
            raise ModelError(f"model {card.id} needs a row of weights per intercept, all of one length")
        if card.task not in (Task.REGRESSION, Task.CLASSIFICATION):
            raise ModelError(f"model {card.id} is linear; it cannot do {card.task}")
        self.labels = card.labels or tuple(str(number) for number in range(len(file.weights)))
        self._weights, self._intercepts = np.array(file.weights), np.array(file.intercepts)
        self._is_classifier = card.task is Task.CLASSIFICATION

    def predict(self, columns: Sequence[Column]) -> Sequence[Column]:
        """See adapter.py. Summed input by input, so that a row's sum does not depend on how many rows there are."""
        given = matrix(columns, np.float64)
        if given.shape[1] != self._weights.shape[1]:
            raise ValueError(f"{self._weights.shape[1]} numbers are needed, {given.shape[1]} came")
        sums = np.tile(self._intercepts, (len(given), 1))
        with np.errstate(over="ignore", invalid="ignore"):  # infinite answers are told by whoever asked
            for place in range(given.shape[1]):
                sums += given[:, place : place + 1] * self._weights[:, place]
        if not self._is_classifier:
            return [sums[:, 0]]
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        return [powers / powers.sum(axis=1, keepdims=True)]


def load(data: bytes, card: ModelCard) -> LinearModel:
    """A model of a JSON file. Raises ModelError."""
    try:
        return LinearModel(msgspec.json.decode(data, type=_File), card)
    except msgspec.MsgspecError as error:
        raise ModelError(f"model {card.id} is no linear model: {error}") from error
