"""first, last: by event time.

first    the value with the smallest event time; of several, the one that arrived first
last     the value with the greatest event time; of several, the one that arrived last

Arrival is the order in which the task reads its input, which within a partition is the order of offsets. Nulls are
skipped. A late event that is still allowed takes the place that its time gives it.
"""

from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import ANY, Aggregate, AggregateKind, Cell
from streamflow.windows.aggregates.kept_values import kept

#: Beyond every event time.
_FAR_MS = 1 << 62


def _timed(name: str, sign: str, far_ms: int, argument: FieldType | None) -> Aggregate:
    assert argument is not None
    lift, names = kept(argument)
    return Aggregate(
        name,
        f"{name}/1 {argument}",
        (Cell(object), Cell(int, far_ms)),
        (f"if {{t}} {sign} {{a}}.{{1}}: {{a}}.{{0}} = {{v}}; {{a}}.{{1}} = {{t}}",),
        (f"if {{b}}.{{1}} {sign} {{a}}.{{1}}: {{a}}.{{0}} = {{b}}.{{0}}; {{a}}.{{1}} = {{b}}.{{1}}",),
        "json_value({a}.{0})" if argument is FieldType.JSON else "{a}.{0}",
        argument,
        "empty",
        lift,
        names,
    )


KINDS = (
    AggregateKind(
        "first", "value of the earliest event time", "required", ANY, lambda t, _given: _timed("first", "<", _FAR_MS, t)
    ),
    AggregateKind(
        "last", "value of the latest event time", "required", ANY, lambda t, _given: _timed("last", ">=", -_FAR_MS, t)
    ),
)  # fmt: skip
