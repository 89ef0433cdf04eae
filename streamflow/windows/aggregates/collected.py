"""collect: the earliest values of a window, in the order of event time, of one time in the order of arrival.

What is kept is the longest beginning of that order that fits into `limit` values and CHARS_MAX characters of text. The
time of the first value that did not fit is remembered (`cut_ms`): what comes behind it is left out although there may
be room again, so that the result is the same for every order of arrival and of merging. How many values were left out
is part of the result: {"values": […], "left_out": 3}.
"""

from array import array
from bisect import bisect_right
from typing import Any

from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import ANY, Aggregate, AggregateKind, Cell, Parameter
from streamflow.windows.aggregates.kept_values import KEPT_MAX_CHARS, json_value, kept

LIMIT_MAX = 10_000
#: Characters of all texts together. A single one always fits.
CHARS_MAX = KEPT_MAX_CHARS
_NEVER_MS = 1 << 62


class Collected:
    """State of collect."""

    __slots__ = ("chars", "cut_ms", "left_out", "times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values: list[Any] = []
        self.chars = 0
        self.left_out = 0
        self.cut_ms = _NEVER_MS

    def add(self, value: Any, time_ms: int, limit: int) -> None:
        """Put a value into its place."""
        if time_ms >= self.cut_ms:
            self.left_out += 1
            return
        times = self.times
        if not times or time_ms >= times[-1]:
            times.append(time_ms)
            self.values.append(value)
        else:
            place = bisect_right(times, time_ms)
            times.insert(place, time_ms)
            self.values.insert(place, value)
        if value.__class__ is str:
            self.chars += len(value)
        if len(times) > limit or self.chars > CHARS_MAX:
            self._cut(limit)

    def _cut(self, limit: int) -> None:
        while len(self.times) > limit or self.chars > CHARS_MAX:
            self._drop_last()

    def _drop_last(self) -> None:
        value = self.values.pop()
        self.cut_ms = self.times.pop()
        self.left_out += 1
        if value.__class__ is str:
            self.chars -= len(value)

    def merge(self, other: "Collected", limit: int) -> None:
        """Take in what another one has, which of one time arrived later."""
        while self.times and self.times[-1] > other.cut_ms:
            self._drop_last()
        for time_ms, value in zip(other.times, other.values, strict=True):
            self.add(value, time_ms, limit)
        self.left_out += other.left_out
        self.cut_ms = min(self.cut_ms, other.cut_ms)

    def result(self) -> dict[str, Any]:
        """Values, and how many were left out."""
        return {"values": self.values[:], "left_out": self.left_out}

    def result_of_json(self) -> dict[str, Any]:
        """The same of texts of JSON."""
        return {"values": [json_value(text) for text in self.values], "left_out": self.left_out}

    def state(self) -> Any:
        """Plain data for msgpack."""
        return self.times.tolist(), self.values, self.left_out, self.cut_ms

    @classmethod
    def of(cls, data: Any) -> "Collected":
        """From what `state` gave."""
        made = cls()
        times, made.values, made.left_out, made.cut_ms = data
        made.times.extend(times)
        made.chars = sum(len(value) for value in made.values if value.__class__ is str)
        return made


def _collect(argument: FieldType | None, given: tuple[float, ...]) -> Aggregate:
    assert argument is not None
    (limit,) = given
    lift, names = kept(argument)
    return Aggregate(
        "collect",
        f"collect/1 {argument} {limit}",
        (Cell(Collected, make=Collected),),
        (f"{{a}}.{{0}}.add({{v}}, {{t}}, {limit})",),
        (f"{{a}}.{{0}}.merge({{b}}.{{0}}, {limit})",),
        "{a}.{0}.result_of_json()" if argument is FieldType.JSON else "{a}.{0}.result()",
        FieldType.JSON,
        lift=lift,
        names=names,
    )


KINDS = (
    AggregateKind(
        "collect", "the earliest values, and how many were left out", "required", ANY, _collect,
        (Parameter("limit", 1, LIMIT_MAX),),
    ),
)  # fmt: skip
