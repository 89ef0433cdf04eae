"""Aggregates of a window: init, add, merge, result, as source text that the engine inlines.

An aggregate keeps its state in a few *cells* of the pane's accumulator (a flat struct), so that adding an event is a
handful of attribute operations in the fused loop and not a call. `{a}` stands for the accumulator, `{0}`, `{1}` for its
cells, `{v}` for the event's value (never null: nulls are skipped), `{b}` for the accumulator merged in.

    aggregate   cells          add                     result
    count       n = 0          n += 1                  n
    sum         s = 0          s += v                  s
    average     s = 0, n = 0   s += v; n += 1          s / n, null without values
    min         m = +inf       if v < m: m = v         m, null without values
    max         m = -inf       if v > m: m = v         m, null without values

Infinity is no JSON value, so no event can carry it and it is free to mean "nothing seen".
"""

from dataclasses import dataclass
from math import inf

from streamflow.model.schema import FieldType

_NUMBERS = frozenset({FieldType.INT, FieldType.FLOAT})
_ORDERED = _NUMBERS | {FieldType.TIMESTAMP}
_ANY = frozenset(FieldType)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How one aggregate is computed.

    argument: "none", "optional" or "required".
    argument_types: field types that the argument may have.
    cells: initial value of each cell.
    add, merge: statements; value: expression of the result.
    empty_is_null: the result is null when no value was added.
    result_type: of the result; None means "as the argument".
    version: part of the state's layout; raise it when cells or their meaning change.
    """

    name: str
    description: str
    argument: str
    argument_types: frozenset[FieldType]
    cells: tuple[float, ...]
    add: tuple[str, ...]
    merge: tuple[str, ...]
    value: str
    empty_is_null: bool
    result_type: FieldType | None
    version: int = 1

    @property
    def takes_argument(self) -> bool:
        """Whether it must be given an expression."""
        return self.argument == "required"

    def accepts(self, argument: FieldType) -> bool:
        """Whether the argument may have this type."""
        return self.argument != "none" and argument in self.argument_types

    def result(self, argument: FieldType | None, argument_nullable: bool = False) -> tuple[FieldType, bool]:
        """(type, nullable) of the result. A pane has an event at least: a non-null argument gives a non-null result."""
        kind = self.result_type or argument or FieldType.INT
        return kind, self.empty_is_null and argument_nullable


COUNT = Aggregate(
    "count",
    "number of events, or of non-null values of its argument",
    "optional",
    _ANY,
    (0,),
    ("{a}.{0} += 1",),
    ("{a}.{0} += {b}.{0}",),
    "{a}.{0}",
    False,
    FieldType.INT,
)
SUM = Aggregate(
    "sum",
    "sum of the non-null values, 0 without any",
    "required",
    _NUMBERS,
    (0,),
    ("{a}.{0} += {v}",),
    ("{a}.{0} += {b}.{0}",),
    "{a}.{0}",
    False,
    None,
)
AVERAGE = Aggregate(
    "average",
    "mean of the non-null values, null without any",
    "required",
    _NUMBERS,
    (0, 0),
    ("{a}.{0} += {v}", "{a}.{1} += 1"),
    ("{a}.{0} += {b}.{0}", "{a}.{1} += {b}.{1}"),
    "({a}.{0} / {a}.{1} if {a}.{1} else None)",
    True,
    FieldType.FLOAT,
)
MIN = Aggregate(
    "min",
    "smallest non-null value, null without any",
    "required",
    _ORDERED,
    (inf,),
    ("if {v} < {a}.{0}: {a}.{0} = {v}",),
    ("if {b}.{0} < {a}.{0}: {a}.{0} = {b}.{0}",),
    "({a}.{0} if {a}.{0} != inf else None)",
    True,
    None,
)
MAX = Aggregate(
    "max",
    "largest non-null value, null without any",
    "required",
    _ORDERED,
    (-inf,),
    ("if {v} > {a}.{0}: {a}.{0} = {v}",),
    ("if {b}.{0} > {a}.{0}: {a}.{0} = {b}.{0}",),
    "({a}.{0} if {a}.{0} != -inf else None)",
    True,
    None,
)

#: All aggregates by the name they have in a topology.
AGGREGATES: dict[str, Aggregate] = {each.name: each for each in (COUNT, SUM, AVERAGE, MIN, MAX)}
