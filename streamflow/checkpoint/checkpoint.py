"""What one checkpoint of one task carries: everything that goes into its Kafka transaction.

The engine fills it, the runtime sends it (one transaction) and applies it to the store after the commit. It is plain
data, so that the test driver and the simulator can commit or lose it as they like.
"""

from dataclasses import dataclass, field
from typing import Protocol

from streamflow.model.trace_context import Span
from streamflow.state.store import TableChanges

#: (key, value, headers); None as key means "no key", None as value a tombstone.
Output = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...] | None]


class OutsideBatch(Protocol):
    """Rows for a target outside of Kafka. What it refuses becomes dead letters of the checkpoint."""

    def prepare(self) -> None:
        """Before Kafka's commit, in a thread. Raises SinkFailed, SinkRefused, TransactionFailed."""

    def put_aside(self, checkpoint: "Checkpoint") -> None:
        """After that: letters of what was refused go into the checkpoint."""

    def settle(self) -> None:
        """After the commit, in a thread. Raises SinkFailed."""


@dataclass(slots=True)
class Checkpoint:
    """One transaction's worth of work of a task.

    outputs: per (topic, partition) the records in the order they must have. In topics that carry watermarks the mark is
        the last record of the partition's list.
    apart: topics in which records with headers must have batches of their own (model/outcome.py); empty nearly always.
    tables: what changed; goes to each table's changelog, partition = the task's, and to the store after the commit.
    positions: per (topic, partition) of the inputs the offset to continue from.
    progress: encoded `Progress`, committed as metadata of every position.
    record_count, output_count: for metrics.
    spans: of traced events; they are told after the commit.
    batch: rows for a target outside of Kafka, prepared before the commit and settled after it; None nearly always.
    first_ms: wall clock of the oldest chunk in it, for end-to-end latency; 0 when unknown.
    """

    sequence: int
    outputs: dict[tuple[str, int], list[Output]] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    tables: list[TableChanges] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    progress: str = ""
    record_count: int = 0
    output_count: int = 0
    first_ms: int = 0
    batch: OutsideBatch | None = None
    spans: list[Span] = field(default_factory=list)
