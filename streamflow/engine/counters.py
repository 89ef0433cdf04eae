"""Counts of a task, as plain integers that the metrics read between chunks."""

from dataclasses import dataclass, field

from streamflow.engine.program import Program
from streamflow.nodes.join_operators import Apart, Upsert
from streamflow.nodes.operators import Filter, Fold


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Rows of one node since the task opened."""

    rows_in: int
    rows_out: int
    late: int
    dead: int


@dataclass(slots=True)
class TaskCounters:
    """Monotone counts since the task opened.

    events_in: records per entry. passed, late: rows per node number (rows that passed a filter, results of a window).
    dead: rows per (node, reason).
    """

    program: Program
    events_in: list[int] = field(init=False)
    passed: list[int] = field(init=False)
    late: list[int] = field(init=False)
    dead: dict[tuple[str, str], int] = field(default_factory=dict)
    _dead_untaken: int = 0

    def __post_init__(self) -> None:
        self.events_in = [0] * len(self.program.stage.entries)
        self.passed = [0] * len(self.program.stage.nodes)
        self.late = [0] * len(self.program.stage.nodes)

    def count_dead(self, node: str, reason: str) -> None:
        """One row of `node` became a dead letter."""
        self.dead[node, reason] = self.dead.get((node, reason), 0) + 1
        self._dead_untaken += 1

    def take_dead_count(self) -> int:
        """Dead letters since the last call."""
        count, self._dead_untaken = self._dead_untaken, 0
        return count

    def by_node(self) -> dict[str, NodeCounts]:
        """Rows in and out of every node, the entries included.

        What passes through unchanged in number is derived, so that the loop counts only at filters, windows and joins:
        in = sum of the inputs' out; out = in - dead, except filters (what passed), windows and joins (results).
        """
        counts: dict[str, NodeCounts] = {}
        dead: dict[str, int] = {}
        for (name, _), count in self.dead.items():
            dead[name] = dead.get(name, 0) + count
        for entry, rows in zip(self.program.stage.entries, self.events_in, strict=True):
            lost = dead.get(entry.node, 0)
            counts[entry.node] = NodeCounts(rows, rows - lost, 0, lost)
        for node in self.program.stage.nodes:
            number = self.program.numbers[node.name]
            rows_in = sum(counts[before].rows_out for before in node.inputs)
            lost = dead.get(node.name, 0)
            counted = isinstance(node.operator, Filter | Fold | Upsert | Apart)
            rows_out = self.passed[number] if counted else rows_in - lost
            counts[node.name] = NodeCounts(rows_in, rows_out, self.late[number], lost)
        return counts
