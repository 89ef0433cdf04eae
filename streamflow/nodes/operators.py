"""The core operators: the handful of things the engine can do. Every node kind is written in terms of them.

A node kind *lowers* itself to one operator (pure data); the engine fuses operators into one call path. A row travels
with its key and its event time, so what an operator does not name it passes on:

    operator   row                    key          event time
    Pass       same                   same         same
    Filter     same, or gone          same         same
    Project    new struct             same         same
    Rekey      same                   new          same
    Lookup     new struct (+ fields)  same         same         reads a global table
    Count      new struct (+ field)   same         same         stateful, per key (per partition without key)
    Fold       result row per window  same         end - 1      stateful, per key and window
    Switch     same, to one output    same         same
    Output     same                   same         same         what a Switch gave it
    Rescued    same                   same         same         what failed at the node before
    Unfold     a row per element      same         same
    Apply      rows of a function     same         same
    Park       its row and an account   same         same, or of the decision     stateful; to one of its Outputs
    Process    rows of a node class   same         same; of timers their time   stateful, per key
    Distinct   same, or gone          same         same         stateful, per key
    Limit      same, or gone          same         same         stateful, per key
    Handover   leaves for the topic of an async node
    Await      rows of a call         same         same         first in its stage, see engine/front.py
    Score      new struct (+ fields)  same         same         asks a model
    Emit       leaves for a topic     record key   –

Operators with more than one kind of input are in `join_operators.py`, those of a join by foreign key in
`foreign_operators.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamflow.calls.caller import Action
from streamflow.calls.policy import Policy
from streamflow.inference.card import Task
from streamflow.kit.declaration import Declaration
from streamflow.model.expression import Expression
from streamflow.model.schema import Schema
from streamflow.nodes.foreign_operators import Settle, Subscribe
from streamflow.nodes.join_operators import Apart, Upsert
from streamflow.nodes.sink_operators import Deliver, Hand
from streamflow.windows.aggregates import Aggregate
from streamflow.windows.count import Counted
from streamflow.windows.session import Session
from streamflow.windows.shape import WindowShape
from streamflow.windows.sliding import Sliding
from streamflow.windows.unbounded import Unbounded


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
class Switch:
    """Gives a row to the first case whose predicate is true: (name of its Output, predicate; None: the rest)."""

    cases: tuple[tuple[str, Expression | None], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """Passes on what its Switch gave it."""


@dataclass(frozen=True, slots=True)
class Rescued:
    """Passes on rows that its input could not work with, as they came to it: they are no dead letters there."""


@dataclass(frozen=True, slots=True)
class Unfold:
    """Gives a row per element of the list that `elements` is; null is an empty list.

    A row is: the fields `keep` of the row it comes from, then those of `element`, then `position` (from 0) if there is
    one. plain: elements are values of the one field of `element`, else objects with its fields. A list that has more
    than `max_rows` elements, or one that does not fit, makes its row a dead letter, and gives nothing.
    """

    elements: Expression
    keep: tuple[str, ...]
    element: Schema
    plain: bool
    position: str | None
    max_rows: int


@dataclass(frozen=True, slots=True)
class Rekey:
    """Sets the key. A row whose key is null leaves for the dead letters (reason `null_key`)."""

    key: Expression


class Missing(StrEnum):
    """What becomes of a row that a global table has nothing for."""

    NULL = "null"
    DROP = "drop"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Adds `fields` of the row that global table `table` has under `key`, behind the row's own fields."""

    table: str
    key: Expression
    fields: tuple[str, ...]
    missing: Missing


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


class Firing(StrEnum):
    """When a window gives its result.

    CLOSE    when the watermark passes its end; late rows that are still allowed give corrections at checkpoints
    FINAL    once, when no row can come any more (end + allowed lateness)
    UPDATE   at every checkpoint for what changed, and once more when no row can come any more
    """

    CLOSE = "close"
    FINAL = "final"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Fold:
    """Folds rows into windows and gives one result row per key and window.

    The result schema is: the key's field, `number` (count windows), `start` and `end` (timestamps, not for unbounded
    ones), the aggregates, then `final` (bool) when a result may come before its window closes, and `revision` (int)
    when it may be corrected after that.
    early_ms: give the results of open windows whenever the watermark passes a multiple of it; 0: never.
    trigger_rows, trigger_when: give the result of a row's window at that row, when the window has a multiple of so many
    rows (0: never), or the row fulfils a condition.
    late rows (end + allowed_lateness_ms <= watermark) are counted, and leave for `late_topic` when there is one.
    retention_ms: how long (event time) a closed window answers queries; of windows without an end in time how long a
    key without rows is kept, 0: for ever.
    max_open: bound of accumulators that a task opens; max_open_per_key: of those of one key (panes of sliding windows),
    0: none. A row that would open one more becomes a dead letter, or ends the worker when `stops_when_full`.
    """

    window: WindowShape
    aggregates: tuple[NamedAggregate, ...]
    table: str
    firing: Firing
    allowed_lateness_ms: int
    retention_ms: int
    early_ms: int = 0
    trigger_rows: int = 0
    trigger_when: Expression | None = None
    late_topic: str | None = None
    max_open: int = 10_000_000
    max_open_per_key: int = 0
    stops_when_full: bool = False

    @property
    def keeps_seen(self) -> bool:
        """Whether an accumulator carries the key's greatest event time, beyond that of its own rows."""
        return isinstance(self.window, Counted) and self.retention_ms > 0

    @property
    def waits(self) -> bool:
        """Whether count windows end by time, too."""
        return isinstance(self.window, Counted) and self.window.within_ms > 0

    @property
    def needs_time(self) -> bool:
        """Whether a row asks for the watermark of this very event."""
        is_told = isinstance(self.window, Unbounded) and self.triggers  # as of that watermark
        return isinstance(self.window, Session) or self.late_topic is not None or self.waits or is_told

    @property
    def triggers(self) -> bool:
        """Whether rows may bring the results of their windows."""
        return self.trigger_rows > 0 or self.trigger_when is not None

    @property
    def shows_final(self) -> bool:
        """Whether results say if they are final."""
        return self.firing is Firing.UPDATE or self.early_ms > 0 or self.triggers

    @property
    def corrects(self) -> bool:
        """Whether results may be corrected after they were given."""
        return self.firing is Firing.CLOSE and self.allowed_lateness_ms > 0

    @property
    def repeats(self) -> bool:
        """Whether one window may give several results."""
        return self.shows_final or self.corrects

    @property
    def told_per_row(self) -> int:
        """Results at the next checkpoint that a row may bring."""
        if self.firing is not Firing.UPDATE and not self.corrects:
            return 0
        return -(self.window.size_ms // -self.window.slide_ms) if isinstance(self.window, Sliding) else 1

    @property
    def fire_lag_ms(self) -> int:
        """How long after its end a window fires."""
        return 0 if self.firing is Firing.CLOSE else self.allowed_lateness_ms


@dataclass(frozen=True, slots=True)
class Apply:
    """Gives the rows that a function makes of each row. `arguments`: what it gets besides, by name.

    policy: attempts and fallback; None: one attempt.
    """

    declared: Declaration
    arguments: tuple[tuple[str, Any], ...]
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """Gives the rows of a node class, made with `arguments` once per task; its states are in `table`.

    cases: as of a Switch, which of its Outputs a row goes to; empty: it has one output.
    """

    declared: Declaration
    arguments: tuple[tuple[str, Any], ...]
    table: str
    cases: tuple[tuple[str, Expression | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Park:
    """Keeps rows of schema `row` in `table` until people have decided, and gives them to the Output of the outcome.

    Rows that go on have a field `account` behind their own (model/approval.py). quorum of the approvers must approve;
    nobody named: of anybody. Times run by event time when `by_event_time`, else by the wall clock; None: never.
    keeps_time: rows go on with their own event time, else with the watermark's when that is later.
    """

    row: Schema
    account: str
    quorum: int
    approvers: tuple[str, ...]
    deadline_ms: int | None
    escalate_after_ms: int | None
    escalate_to: tuple[str, ...]
    by_event_time: bool
    keeps_time: bool
    max_parked: int
    table: str


@dataclass(frozen=True, slots=True)
class Distinct:
    """Passes the first row of an id: the key and the values of `parts`, or the key alone.

    A row is a duplicate when it comes less than `within_ms` (event time) after one that passed, or before it. Rows at
    or behind the watermark - `lateness_ms` are late. The table keeps ids in slots of `slot_ms`.
    """

    parts: tuple[Expression, ...]
    within_ms: int
    lateness_ms: int
    slot_ms: int
    table: str
    late_topic: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """Passes rows of a key while its bucket of `burst` tokens has one; `rate` tokens come back per `per_ms`.

    The clock is event time. Rows that do not pass leave for `topic` when there is one.
    """

    rate: int
    per_ms: int
    burst: int
    table: str
    topic: str | None


@dataclass(frozen=True, slots=True)
class Handover:
    """Leaves for the same partition of another stage's topic, with its key, if any, in the field `KEY_FIELD`."""


#: Field of the rows of a Handover. Fields of a topology begin with a letter, so none can be equal.
KEY_FIELD = "_key"


@dataclass(frozen=True, slots=True)
class Await:
    """Gives the rows of a call to the outside.

    capacity: rows of a task whose calls may be under way or waiting for an earlier one. ends_soon: whether it is worth
    waiting for calls that are under way when the task stops. ordered: whether rows leave in the order they came in.
    """

    action: Action
    policy: Policy
    capacity: int = 100
    ends_soon: bool = True
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Score:
    """Adds what a model gives for `inputs`, behind the row's own fields (inference/answers.py).

    shares: (version or `latest`, upper bound of its share of the keys in 1/10,000), ascending. shadow: a version that
    is asked too, whose fields may be null. floor: rows of a lower confidence are left out. nulls: are given to the
    model as not-a-number, else they make their row a dead letter. batch_rows: most rows of one call. registry: topic
    of cards.
    """

    model: str
    task: Task
    inputs: tuple[Expression, ...]
    shares: tuple[tuple[str, int], ...]
    shadow: str | None
    top_k: int
    floor: float
    nulls: bool
    batch_rows: int
    registry: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Leaves for a topic as JSON, partitioned by key. stamped: with headers that say who made it, and when."""

    topic: str
    stamped: bool = False


#: Operators whose rows go on as they came when they fail, if somebody reads them.
RESCUABLE = Filter | Project | Unfold | Lookup | Apply | Await | Process | Score

Operator = (
    Pass
    | Filter
    | Project
    | Switch
    | Output
    | Rescued
    | Unfold
    | Rekey
    | Lookup
    | Count
    | Fold
    | Apply
    | Process
    | Park
    | Distinct
    | Limit
    | Handover
    | Await
    | Score
    | Emit
    | Hand
    | Deliver
    | Upsert
    | Subscribe
    | Settle
    | Apart
)
