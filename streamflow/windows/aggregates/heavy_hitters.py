"""top_k: the most frequent values, exact up to EXACT_MAX different ones, then a frequent-items sketch of DataSketches.

[{"value": "a", "count": 7, "error": 0}, …], most frequent first, of one count the smaller value (of JSON: its text)
first. A value occurred at least count - error and at most count times. Exact counts have the error 0. That of the
sketch is at most 0.35 % of all values (3.5 / 1,024; Anderson et al., "A high-performance algorithm for identifying
frequent items in data streams", IMC 2017), always and not only probably: no value more frequent than that is missed.

Counts in front of the sketch take up repetitions.
"""

from collections.abc import Callable
from typing import Any

from streamflow.model.late_import import load
from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import ANY, Aggregate, AggregateKind, Cell, Parameter
from streamflow.windows.aggregates.kept_values import abbreviated, json_text, json_value, lifted_text
from streamflow.windows.aggregates.sketches import datasketches

EXACT_MAX = 256
#: The sketch has 2^LG_SLOTS slots and fills three quarters of them.
LG_SLOTS = 10
K_MAX = 100
#: Longer texts are shown as their beginning and a hash.
TEXT_MAX_CHARS = 256


class HeavyHitters:
    """State of top_k: counts since the sketch was fed, and the sketch when there were too many values."""

    __slots__ = ("counts", "sketch")

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}
        self.sketch: Any = None

    def add(self, value: Any) -> None:
        """Count a value."""
        counts = self.counts
        counts[value] = counts.get(value, 0) + 1
        if len(counts) > EXACT_MAX:
            self._feed()

    def _feed(self) -> None:
        if self.sketch is None:
            self.sketch = datasketches.frequent_strings_sketch(LG_SLOTS)
        update = self.sketch.update
        for value, count in self.counts.items():
            update(str(value), count)
        self.counts.clear()

    def merge(self, other: "HeavyHitters") -> None:
        """Take in what another one has counted."""
        if other.sketch is not None:
            if self.sketch is None:
                self.sketch = datasketches.frequent_strings_sketch(LG_SLOTS)
            self.sketch.merge(other.sketch)
        counts = self.counts
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        if len(counts) > EXACT_MAX:
            self._feed()

    def result(self, k: int, read: Callable[[str], Any]) -> list[dict[str, Any]]:
        """At most k values; `read` gives a value of its text in the sketch."""
        if self.sketch is None:
            found = [(value, count, 0) for value, count in self.counts.items()]
        else:
            self._feed()
            every = datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES
            rows = self.sketch.get_frequent_items(every)
            found = [(read(text), count, count - least) for text, count, least, _most in rows]
        found.sort(key=lambda row: (-row[1], row[0]))
        return [{"value": value, "count": count, "error": error} for value, count, error in found[:k]]

    def result_of_json(self, k: int) -> list[dict[str, Any]]:
        """The same of texts of JSON."""
        return [row | {"value": _json_or_text(row["value"])} for row in self.result(k, str)]

    def weight_bytes(self) -> int:
        """Memory it takes, roughly."""
        return 200 + 100 * len(self.counts) + (self.sketch is not None) * 50_000

    def state(self) -> Any:
        """Plain data for msgpack: pairs of value and count, or the sketch's bytes."""
        if self.sketch is None:
            return list(self.counts.items())
        self._feed()
        return self.sketch.serialize()

    @classmethod
    def of(cls, data: Any) -> "HeavyHitters":
        """From what `state` gave."""
        made = cls()
        if isinstance(data, bytes):
            made.sketch = datasketches.frequent_strings_sketch.deserialize(data)
        else:
            made.counts.update(data)
        return made


def _json_or_text(text: str) -> Any:
    """The JSON of a text; an abbreviated text is shown as it is."""
    return text if len(text) == TEXT_MAX_CHARS and text[-33] == "…" else json_value(text)


def top_text(text: str) -> str:
    """A text, bounded; different ones stay different."""
    return abbreviated(text, TEXT_MAX_CHARS)


def top_json(value: Any) -> str:
    """Canonical JSON of a value, bounded."""
    return abbreviated(json_text(value), TEXT_MAX_CHARS)


#: A float that was computed may be an integer, or a negative zero.
_LIFTS = {
    FieldType.STR: lifted_text("top_text", TEXT_MAX_CHARS),
    FieldType.JSON: "top_json({v})",
    FieldType.FLOAT: "({v}) + 0.0",
}
_READS: dict[FieldType, Callable[[str], Any]] = {FieldType.FLOAT: float, FieldType.STR: str}


def _top(argument: FieldType | None, given: tuple[float, ...]) -> Aggregate:
    assert argument is not None
    load(datasketches)
    read, k = _READS.get(argument, int), given[0]
    return Aggregate(
        "top_k",
        f"top/1 {argument}",
        (Cell(HeavyHitters, make=HeavyHitters),),
        ("{a}.{0}.add({v})",),
        ("{a}.{0}.merge({b}.{0})",),
        f"{{a}}.{{0}}.result_of_json({k})"
        if argument is FieldType.JSON
        else f"{{a}}.{{0}}.result({k}, read_{argument})",
        FieldType.JSON,
        lift=_LIFTS.get(argument, ""),
        names={"top_text": top_text, "top_json": top_json, f"read_{argument}": read},
    )


KINDS = (
    AggregateKind(
        "top_k", f"the k most frequent values with their counts, exact up to {EXACT_MAX} different ones",
        "required", ANY, _top, (Parameter("k", 1, K_MAX),),
    ),
)  # fmt: skip
