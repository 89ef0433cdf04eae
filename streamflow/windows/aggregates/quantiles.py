"""percentile, median: exact up to EXACT_MAX values, then a KLL sketch of Apache DataSketches.

Of n sorted values the percentile p is the one at index floor(p / 100 · (n - 1)), from 0: always a value that occurred,
of two middle ones the smaller. Behind EXACT_MAX values it is one whose rank differs from that by at most 0.68 % of n,
with 99 % confidence (`kll_doubles_sketch.get_normalized_rank_error(400, False)`; Karnin, Lang and Liberty, "Optimal
quantile approximation in streams", FOCS 2016). The sketch throws coins: beyond the bound, answers of two runs may
differ within the error.

The sketch counts in floats of 64 bits: beyond 2^53 integers lose their last digits there. Values are gathered in an
array in front of it, which is several times cheaper than feeding one by one.
"""

import sys
from array import array
from fractions import Fraction
from typing import Any, ClassVar

from streamflow.model.late_import import load
from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import ORDERED, Aggregate, AggregateKind, Cell, Parameter
from streamflow.windows.aggregates.sketches import datasketches, numpy

EXACT_MAX = 1_000
#: Accuracy of the sketch; it keeps some 3 · K values.
K = 400


class Quantiles:
    """State of percentiles of floats: values since the sketch was fed, and the sketch when there were too many."""

    __slots__ = ("sketch", "values")
    _typecode: ClassVar[str] = "d"

    def __init__(self) -> None:
        self.values: array[Any] = array(self._typecode)
        self.sketch: Any = None

    def add(self, value: float) -> None:
        """Take a value in."""
        values = self.values
        values.append(value)
        if len(values) > EXACT_MAX:
            self._feed()

    def _feed(self) -> None:
        if self.sketch is None:
            self.sketch = datasketches.kll_doubles_sketch(K)
        self.sketch.update(numpy.array(self.values, dtype=numpy.float64))
        self.values = array(self._typecode)

    def merge(self, other: "Quantiles") -> None:
        """Take in what another one has."""
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = datasketches.kll_doubles_sketch(K)
            self.sketch.merge(other.sketch)
        self.values.extend(other.values)
        if len(self.values) > EXACT_MAX:
            self._feed()

    def result(self, numerator: int, denominator: int) -> Any:
        """The percentile p = numerator / denominator; None without values."""
        if self.sketch is None:
            if not self.values:
                return None
            return _at_rank(self.values, numerator * (len(self.values) - 1) // (denominator * 100))
        if self.values:
            self._feed()
        count = self.sketch.n
        index = numerator * (count - 1) // (denominator * 100)
        return self._restored(self.sketch.get_quantile((index + 0.5) / count))

    def _restored(self, value: float) -> Any:
        return value

    def weight_bytes(self) -> int:
        """Memory it takes, roughly."""
        return 200 + 9 * len(self.values) + (self.sketch is not None) * 11_000

    def state(self) -> Any:
        """Plain data for msgpack: little-endian values, or the sketch's bytes."""
        if self.sketch is None:
            return _little_endian(self.values).tobytes(), None
        if self.values:
            self._feed()
        return b"", self.sketch.serialize()

    @classmethod
    def of(cls, data: Any) -> "Quantiles":
        """From what `state` gave."""
        made = cls()
        values, sketch = data
        made.values.frombytes(values)
        made.values = _little_endian(made.values)
        if sketch is not None:
            made.sketch = datasketches.kll_doubles_sketch.deserialize(sketch)
        return made


class IntegerQuantiles(Quantiles):
    """The same of integers of 64 bits."""

    __slots__ = ()
    _typecode = "q"

    def _restored(self, value: float) -> int:
        return min(max(round(value), -(2**63)), 2**63 - 1)


def _at_rank(values: "array[Any]", index: int) -> Any:
    """The value at an index of the sorted values."""
    if len(values) < 64:
        return sorted(values)[index]
    return numpy.partition(numpy.frombuffer(values, dtype=values.typecode), index)[index].item()


def _little_endian(values: "array[Any]") -> "array[Any]":
    """The values with their bytes in that order, as they are on most machines."""
    if sys.byteorder == "little":
        return values
    turned = values[:]
    turned.byteswap()
    return turned


def _percentile(name: str, argument: FieldType | None, p: float) -> Aggregate:
    assert argument is not None
    load(datasketches)
    load(numpy)
    exact = Fraction(str(p))
    state = Quantiles if argument is FieldType.FLOAT else IntegerQuantiles
    return Aggregate(
        name,
        f"quantiles/1 {argument}",
        (Cell(state, make=state),),
        ("{a}.{0}.add({v})",),
        ("{a}.{0}.merge({b}.{0})",),
        f"{{a}}.{{0}}.result({exact.numerator}, {exact.denominator})",
        argument,
        "empty",
    )


_BOUND = f"exact up to {EXACT_MAX:,} values, then within 0.68 % of the rank"
KINDS = (
    AggregateKind(
        "percentile", f"value below which p % of the values lie, {_BOUND}", "required", ORDERED,
        lambda argument, given: _percentile("percentile", argument, given[0]),
        (Parameter("p", 0, 100, whole=False),),
    ),
    AggregateKind(
        "median", f"percentile(x, 50), {_BOUND}", "required", ORDERED,
        lambda argument, _given: _percentile("median", argument, 50),
    ),
)  # fmt: skip
