"""count, sum, average, min, max.

aggregate   cells          add                     result
count       n = 0          n += 1                  n
sum         s = 0          s += v                  s
average     s = 0, n = 0   s += v; n += 1          s / n, null without values
min         m = +inf       if v < m: m = v         m, null without values
max         m = -inf       if v > m: m = v         m, null without values

Infinity is no JSON value and no result of an expression, so it is free to mean "nothing seen".
"""

from math import inf

from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import ANY, NUMBERS, ORDERED, Aggregate, AggregateKind, Cell

_NUMBER = int | float
_ZERO = Cell(_NUMBER, 0)

_COUNT = Aggregate(
    "count", "count/1", (_ZERO,), ("{a}.{0} += 1",), ("{a}.{0} += {b}.{0}",), "{a}.{0}", FieldType.INT
)  # fmt: skip


def _sum(argument: FieldType | None) -> Aggregate:
    assert argument is not None
    add, merge = ("{a}.{0} += {v}",), ("{a}.{0} += {b}.{0}",)
    return Aggregate("sum", "sum/1", (_ZERO,), add, merge, "{a}.{0}", argument, overflows=True)


_AVERAGE = Aggregate(
    "average",
    "average/1",
    (_ZERO, _ZERO),
    ("{a}.{0} += {v}", "{a}.{1} += 1"),
    ("{a}.{0} += {b}.{0}", "{a}.{1} += {b}.{1}"),
    "({a}.{0} / {a}.{1} if {a}.{1} else None)",
    FieldType.FLOAT,
    "empty",
    overflows=True,
)


def _extreme(name: str, sign: str, empty: float, argument: FieldType | None) -> Aggregate:
    assert argument is not None
    return Aggregate(
        name,
        f"{name}/1",
        (Cell(_NUMBER, empty),),
        (f"if {{v}} {sign} {{a}}.{{0}}: {{a}}.{{0}} = {{v}}",),
        (f"if {{b}}.{{0}} {sign} {{a}}.{{0}}: {{a}}.{{0}} = {{b}}.{{0}}",),
        f"({{a}}.{{0}} if {{a}}.{{0}} != {empty} else None)",
        argument,
        "empty",
        names={"inf": inf},
    )


KINDS = (
    AggregateKind(
        "count", "number of events, or of values that are not null", "optional", ANY, lambda _type, _given: _COUNT
    ),
    AggregateKind("sum", "sum, 0 without any value", "required", NUMBERS, lambda kind, _given: _sum(kind)),
    AggregateKind("average", "mean", "required", NUMBERS, lambda _type, _given: _AVERAGE),
    AggregateKind(
        "min", "smallest value", "required", ORDERED, lambda kind, _given: _extreme("min", "<", inf, kind)
    ),
    AggregateKind(
        "max", "greatest value", "required", ORDERED, lambda kind, _given: _extreme("max", ">", -inf, kind)
    ),
)  # fmt: skip
