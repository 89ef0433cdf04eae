"""Drift of a model's inputs: how far what comes lies from what it was trained on.

The population stability index of an input is Σ (p - q) · ln(p / q) over the bins of its card, p the share of rows that
came and q that of the training data, each at least 0.0001 (Siddiqi, Credit Risk Scorecards, 2006). By custom below 0.1
is stable, above 0.25 has moved.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamflow.inference.adapter import Column
from streamflow.inference.card import ModelInput
from streamflow.model.late_import import LateImport

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")

#: Rows that are remembered: at twice as many all counts are halved, so that the index follows what comes now.
WINDOW_ROWS = 10_000
#: Fewer rows say nothing: the index of so many that are just like the training data is 0.02, of ten it is 1.
LEAST_ROWS = 500
_LEAST = 1e-4


class Drift:
    """Counts per bin of the inputs whose card has them."""

    def __init__(self, inputs: Sequence[ModelInput]) -> None:
        self._watched = [(place, each) for place, each in enumerate(inputs) if each.shares]
        self._edges = {each.name: np.array(each.edges) for _, each in self._watched}
        self._counts = {each.name: np.zeros(len(each.shares)) for _, each in self._watched}
        self.rows = 0

    def add(self, columns: Sequence[Column]) -> None:
        """Rows that came, as one column per input."""
        for place, each in self._watched:
            column = columns[place]
            bins = np.searchsorted(self._edges[each.name], column[~np.isnan(column)], side="left")
            self._counts[each.name] += np.bincount(bins, minlength=len(each.shares))
        self.rows += len(columns[0]) if columns else 0
        if self.rows >= 2 * WINDOW_ROWS:
            self.rows //= 2
            for counts in self._counts.values():
                counts /= 2

    def index(self) -> dict[str, float]:
        """The index of every watched input of which enough values came."""
        found = {}
        for _, each in self._watched:
            counts = self._counts[each.name]
            total = float(counts.sum())
            if total >= LEAST_ROWS:
                pairs = zip((counts / total).tolist(), each.shares, strict=True)
                clipped = [(max(share, _LEAST), max(trained, _LEAST)) for share, trained in pairs]
                found[each.name] = sum((p - q) * math.log(p / q) for p, q in clipped)
        return found
