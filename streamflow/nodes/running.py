"""Statistics per key that are learned from the stream: node classes for `anomaly` and `normalize_…`.

Each row gives the fields of its input and what was computed, as a row class made for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from statistics import fmean, median
from typing import Any, cast

import msgspec

from streamflow.errors import EventError
from streamflow.kit import List, Process, Row, Value
from streamflow.kit.declaration import Declaration
from streamflow.kit.process import states_of
from streamflow.kit.rows import Time
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Flow, Lowered, Lowering, TableShape
from streamflow.nodes.operators import Process as ProcessOperator

_TYPES: dict[FieldType, Any] = {
    FieldType.STR: str,
    FieldType.INT: int,
    FieldType.FLOAT: float,
    FieldType.BOOL: bool,
    FieldType.TIMESTAMP: Time,
    FieldType.JSON: Any,
}


def row_class(schema: Schema) -> type[Row]:
    """A row class with the fields of a schema."""
    fields = []
    for field in schema.fields:
        kind = _TYPES[field.type]
        fields.append((field.name, kind | None if field.nullable and kind is not Any else kind))
    return cast(type[Row], msgspec.defstruct(schema.name, fields, bases=(Row,), gc=False))


class Running(Process):
    """Base: works on one numeric field, and gives each row with what `computed` makes of its value."""

    def __init__(self, field: str, given: type[Row], options: Mapping[str, Any]) -> None:
        self._field, self._given, self._options = field, given, options
        self._names = given.__struct_fields__

    def computed(self, value: float | None) -> Mapping[str, Any] | None:
        """Fields to set, by name; None when the row does not go on. A value that is null teaches nothing."""
        raise NotImplementedError

    def process(self, row: Any) -> Iterator[Any]:
        """Every field of the row, and the computed ones."""
        value = getattr(row, self._field)
        found = self.computed(value)
        if found is not None:
            yield self._given(*[found[name] if name in found else getattr(row, name) for name in self._names])


class Moments(Running):
    """z-score by the mean and the sample deviation of all values of the key so far, this one included.

    Welford (1962): mean += (x - mean) / n; squares += (x - mean_before) (x - mean). Null for the first values, until
    they differ (by more than 1e-150: squares of less are nothing).
    """

    count = Value(int)
    mean = Value(float)
    squares = Value(float)

    def computed(self, value: float | None) -> Mapping[str, Any]:
        """The score."""
        if value is None:
            return {self._options["into"]: None}
        count, mean = (self.count.get() or 0) + 1, self.mean.get() or 0.0
        after = mean + (value - mean) / count
        squares = finite((self.squares.get() or 0.0) + (value - mean) * (value - after))
        self.count.set(count)
        self.mean.set(finite(after))
        self.squares.set(squares)
        deviation = sqrt(squares / (count - 1)) if count > 1 else 0.0
        return {self._options["into"]: (value - after) / deviation if deviation > 0 else None}


class Extremes(Running):
    """min-max by the least and the greatest value of the key so far, this one included; null while they are equal."""

    least = Value(float)
    greatest = Value(float)

    def computed(self, value: float | None) -> Mapping[str, Any]:
        """The place between them."""
        if value is None:
            return {self._options["into"]: None}
        before = self.least.get(), self.greatest.get()
        least = value if before[0] is None else min(before[0], value)
        greatest = value if before[1] is None else max(before[1], value)
        if (least, greatest) != before:
            self.least.set(least)
            self.greatest.set(greatest)
        width = finite(greatest - least)
        return {self._options["into"]: (value - least) / width if width > 0 else None}


class Scored(Running):
    """Base of anomaly scores: a row is judged by the rows of its key before it, then teaches."""

    def score(self, value: float) -> tuple[float | None, bool]:
        """(score, whether it is an anomaly by `threshold`); (None, …) when no number says how far it is off."""
        raise NotImplementedError

    def computed(self, value: float | None) -> Mapping[str, Any] | None:
        """Score and mark; in mode filter rows that are no anomaly do not go on."""
        score, found = (None, False) if value is None else self.score(value)
        if self._options["mode"] == "filter":
            return {self._options["score"]: score} if found else None
        return {self._options["score"]: score, self._options["flag"]: found}

    def judged(self, distance: float, scale: float) -> tuple[float | None, bool]:
        """Score of a distance in units of a scale; without a scale any distance is an anomaly."""
        if scale <= 0:
            return (0.0, False) if distance == 0 else (None, True)
        score = abs(distance) / scale
        if score - score != 0.0:  # too far for a number
            return None, True
        return score, score > self._options["threshold"]


class RobustZ(Scored):
    """0.6745 |x - median| / MAD over the last `history` values (Iglewicz and Hoaglin, 1993).

    Where more than half of them are equal MAD is 0; then |x - median| / (1.253314 mean absolute deviation).
    """

    last = List(float, max_entries=1_000, full="drop_oldest")

    def score(self, value: float) -> tuple[float | None, bool]:
        """Sorts the history: cost grows with it."""
        history: Sequence[float] = list(self.last)
        result: tuple[float | None, bool] = None, False
        if len(history) >= self._options["warm_up"]:
            middle = median(history)
            distances = [abs(each - middle) for each in history]
            scale = median(distances) / 0.6745 or 1.253314 * fmean(distances)
            result = self.judged(value - middle, scale)
        if len(history) >= self._options["history"]:
            self.last.replace([*history[1:], float(value)])
        else:
            self.last.append(float(value))
        return result


class Ewma(Scored):
    """|x - mean| / deviation, exponentially weighted (Finch, 2009).

    d = x - mean; mean += alpha d; variance = (1 - alpha) (variance + alpha d²).
    """

    count = Value(int)
    mean = Value(float)
    variance = Value(float)

    def score(self, value: float) -> tuple[float | None, bool]:
        """Constant cost."""
        count, alpha = self.count.get() or 0, self._options["alpha"]
        mean, variance = (self.mean.get() or 0.0, self.variance.get() or 0.0) if count else (float(value), 0.0)
        off = value - mean
        result = self.judged(off, sqrt(variance)) if count >= self._options["warm_up"] else (None, False)
        self.count.set(count + 1)
        self.mean.set(finite(mean + alpha * off))
        self.variance.set(finite((1 - alpha) * (variance + alpha * off * off)))
        return result


def finite(number: float) -> float:
    """The number. Raises EventError when it is none any more: it would spoil everything behind it."""
    if number - number != 0.0:
        raise EventError("process", "the statistics would overflow")
    return number


def lowered(
    target: type[Running], field: str, output: Schema, options: Mapping[str, Any], table: str, lowering: Lowering
) -> Lowered:
    """A node of one of these classes. The input must have a key."""
    before = lowering.input
    given = row_class(output)
    declared = Declaration(target, None, given)
    arguments = (("field", field), ("given", given), ("options", dict(options)))
    flow = Flow(output, before.key, before.key_name, before.repeats)
    return Lowered(ProcessOperator(declared, arguments, table), flow, _table(target, table, before))


def lowered_scale(
    target: type[Running],
    field: str,
    into: str | None,
    options: Mapping[str, Any],
    table: str | None,
    lowering: Lowering,
) -> Lowered | None:
    """A node that gives `field` on a scale: a float or null, `into` a field or in its place. None after a problem."""
    if not lowering.numeric_of_key(field):
        return None
    name, before = into or field, lowering.input.schema
    result = Field(name, FieldType.FLOAT, True)
    fields = tuple(result if each.name == name else each for each in before.fields)
    output = Schema(f"{before.name}Scaled", fields if name in before.names else (*fields, result))
    return lowered(target, field, output, {**options, "into": name}, table or lowering.name, lowering)


def _table(target: type[Running], table: str, before: Flow) -> TableShape:
    key = Field(before.key_name or "key", before.key.type if before.key is not None else FieldType.STR)
    shown = [Field(state.name, FieldType.JSON, True) for state in states_of(target) if state.name != key.name]
    return TableShape(table, row_schema=Schema(f"{target.__name__}States", (key, *shown)))
