"""Counts of a task, as plain integers that the metrics read between chunks."""

from dataclasses import dataclass, field

from streamflow.engine.program import Program
from streamflow.nodes.foreign_operators import Settle
from streamflow.nodes.join_operators import Apart, Upsert
from streamflow.nodes.operators import (
    Apply,
    Await,
    Distinct,
    Filter,
    Fold,
    Limit,
    Lookup,
    Output,
    Process,
    Rescued,
    Score,
    Switch,
    Unfold,
)

#: Operators whose rows out are counted; the others give as many as they take.
_COUNTED = (
    Filter
    | Output
    | Rescued
    | Lookup
    | Fold
    | Unfold
    | Apply
    | Await
    | Process
    | Distinct
    | Limit
    | Score
    | Upsert
    | Settle
    | Apart
)


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Rows of one node since the task opened; dropped: versions that went by a bound, before their time."""

    rows_in: int
    rows_out: int
    late: int
    dead: int
    dropped: int = 0

    def plus(self, other: "NodeCounts | None") -> "NodeCounts":
        """The sum; None counts nothing."""
        if other is None:
            return self
        return NodeCounts(
            self.rows_in + other.rows_in,
            self.rows_out + other.rows_out,
            self.late + other.late,
            self.dead + other.dead,
            self.dropped + other.dropped,
        )


@dataclass(slots=True)
class TaskCounters:
    """Monotone counts since the task opened.

    events_in: records per entry; disordered: those earlier than one before them in their partition; clamped:
    those whose time was replaced by their record's.
    passed, late: rows per node number (rows that passed a filter, or that a node made); closed: final ones of windows.
    dead: rows per (node, reason). dropped: per node number versions that went by a bound, before their time.
    """

    program: Program
    events_in: list[int] = field(init=False)
    disordered: list[int] = field(init=False)
    clamped: list[int] = field(init=False)
    passed: list[int] = field(init=False)
    closed: list[int] = field(init=False)
    late: list[int] = field(init=False)
    dropped: list[int] = field(init=False)
    dead: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.events_in = [0] * len(self.program.stage.entries)
        self.disordered = [0] * len(self.program.stage.entries)
        self.clamped = [0] * len(self.program.stage.entries)
        self.passed = [0] * len(self.program.stage.nodes)
        self.late = [0] * len(self.program.stage.nodes)
        self.closed = [0] * len(self.program.stage.nodes)
        self.dropped = [0] * len(self.program.stage.nodes)

    def count_dead(self, node: str, reason: str) -> None:
        """One row of `node` became a dead letter."""
        self.dead[node, reason] = self.dead.get((node, reason), 0) + 1

    def count_dropped(self, number: int, count: int) -> None:
        """Versions of a table's keys went by a bound, before their time."""
        self.dropped[number] += count

    def flat(self) -> tuple[int, ...]:
        """Everything `by_node` needs, as it travels in the progress of a bounded run: entries, passed, late, dead."""
        dead = dict.fromkeys(self._names(), 0)
        for (name, _), count in self.dead.items():
            dead[name] += count
        return (*self.events_in, *self.passed, *self.late, *dead.values())

    def with_dead(self, flat: tuple[int, ...], node: str, count: int) -> tuple[int, ...]:
        """`flat` with so many more dead letters of a node."""
        place = len(self.events_in) + 2 * len(self.passed) + self._names().index(node)
        return (*flat[:place], flat[place] + count, *flat[place + 1 :])

    def resume(self, flat: tuple[int, ...]) -> None:
        """Continue from `flat` of an earlier life; which reason a dead letter had is not in it."""
        entries, nodes = len(self.events_in), len(self.passed)
        self.events_in[:] = flat[:entries]
        self.passed[:] = flat[entries : entries + nodes]
        self.late[:] = flat[entries + nodes : entries + 2 * nodes]
        dead = zip(self._names(), flat[entries + 2 * nodes :], strict=True)
        self.dead = {(name, ""): count for name, count in dead if count}

    def _names(self) -> list[str]:
        stage = self.program.stage
        entries = (entry.node for entry in stage.entries if not entry.level)
        return [*entries, *(node.name for node in stage.nodes)]

    def by_node(self) -> dict[str, NodeCounts]:
        """Rows in and out of every node, the entries included.

        What passes through unchanged in number is derived, so that the loop counts only where rows end or begin:
        in = sum of the inputs' out; out = in - dead - what went on as failed, except filters and lookups (what passed),
        windows and joins (results).
        """
        counts: dict[str, NodeCounts] = {}
        rescued = {
            node.inputs[0]: self.passed[self.program.numbers[node.name]]
            for node in self.program.stage.nodes
            if isinstance(node.operator, Rescued)
        }
        dead: dict[str, int] = {}
        for (name, _), count in self.dead.items():
            dead[name] = dead.get(name, 0) + count
        for entry, rows in zip(self.program.stage.entries, self.events_in, strict=True):
            lost = dead.get(entry.node, 0)
            if entry.level:  # one of the topics of a node that was counted
                rows += counts[entry.node].rows_in
            counts[entry.node] = NodeCounts(rows, rows - lost, 0, lost)
        for node in self.program.stage.nodes:
            number = self.program.numbers[node.name]
            rows_in = sum(counts[before].rows_out for before in node.inputs)
            lost = dead.get(node.name, 0)
            rows_out = rows_in - lost - rescued.get(node.name, 0)
            if isinstance(node.operator, _COUNTED):
                rows_out = self.passed[number]
            if isinstance(node.operator, Switch):
                rows_out = sum(self.passed[self.program.numbers[name]] for name, _ in node.operator.cases)
            elif isinstance(node.operator, Output | Rescued):
                rows_in = rows_out
            counts[node.name] = NodeCounts(rows_in, rows_out, self.late[number], lost, self.dropped[number])
        return counts
