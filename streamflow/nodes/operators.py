"""The core operators: the handful of things the engine can do. Every node kind is written in terms of them.

A node kind *lowers* itself to one operator (pure data); the engine fuses operators into one call path. A row travels
with its key and its event time, so what an operator does not name it passes on:

    operator   row                    key          event time
    Pass       same                   same         same
    Filter     same, or gone          same         same
    Project    new struct             same         same
    Rekey      same                   new          same
    Count      new struct (+ field)   same         same         stateful, per key (per partition without key)
    Fold       result row per pane    same         end - 1      stateful, per key and pane
    Emit       leaves for a topic     record key   –
"""

from dataclasses import dataclass

from streamflow.model.expression import Expression
from streamflow.windows.aggregates import Aggregate
from streamflow.windows.tumbling import Tumbling


@dataclass(frozen=True, slots=True)
class Pass:
    """Passes every row on."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Passes rows whose `predicate` (type bool) is true."""

    predicate: Expression


@dataclass(frozen=True, slots=True)
class Project:
    """Builds a new row of the node's output schema: one expression per output field, in schema order."""

    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Rekey:
    """Sets the key. A row whose key is null leaves for the dead letters (reason `null_key`)."""

    key: Expression


@dataclass(frozen=True, slots=True)
class Count:
    """Adds `field` = how many rows of this key the node has seen, this one included. Kept in `table`."""

    field: str
    table: str


@dataclass(frozen=True, slots=True)
class NamedAggregate:
    """One aggregate of a window: the result field's name, what to compute, and over what (None: count())."""

    name: str
    aggregate: Aggregate
    argument: Expression | None


@dataclass(frozen=True, slots=True)
class Fold:
    """Folds rows into panes and gives one result row per key and pane.

    The result schema is: the key's field, `start` and `end` (timestamps), then the aggregates, then `final` (bool) when
    emit is "update". emit "close": once, when the watermark passes the end. emit "update": at every checkpoint for what
    changed, and once more when it closes.
    late rows (end + allowed_lateness_ms <= watermark) leave for the late count and the dead letters are not told.
    retention_ms: how long (event time) a closed pane answers queries.
    """

    window: Tumbling
    aggregates: tuple[NamedAggregate, ...]
    table: str
    emit: str
    allowed_lateness_ms: int
    retention_ms: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Leaves for a topic as JSON, partitioned by key."""

    topic: str


Operator = Pass | Filter | Project | Rekey | Count | Fold | Emit
