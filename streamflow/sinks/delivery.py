"""How rows leave, around the Kafka transaction of a checkpoint.

    add(row, …) …           rows of one partition of the sink's feed, in the order of their offsets
    take(end) → Batch       at a checkpoint: what came since the last one, up to the offset `end`
    batch.prepare()         before Kafka's commit: durable outside, or ready to be; gives the rows that were refused,
                            which become dead letters in that commit
    batch.settle()          after it: seen by everybody

Kafka's commit says how far the feed was delivered. Whoever opens the partition next makes what is outside agree with
it, and says from which offset on rows are new (`done_until`), and which of those before were refused: a database may be
ahead of Kafka by a batch, files never are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamflow.errors import EventError
from streamflow.model.chunk import Chunk


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is outside does not take the row of `chunk.values[index]`, and would not take it again."""

    chunk: Chunk
    index: int
    error: EventError


class Batch(Protocol):
    """Rows between two checkpoints. Both calls come from a thread of their own, one after the other."""

    def prepare(self) -> Sequence[Refusal]:
        """Raises SinkFailed, SinkRefused, TransactionFailed."""

    def settle(self) -> None:
        """Raises SinkFailed."""


class Delivery(Protocol):
    """Of one task. `done_until`: rows before this offset are outside already."""

    done_until: int

    def refusal(self, offset: int) -> EventError | None:
        """Why a row before `done_until` is not outside; None when it is."""

    def add(self, row: Any, chunk: Chunk, index: int) -> None:
        """One more row, of `chunk.values[index]`. Raises SinkFailed."""

    def take(self, end: int) -> Batch | None:
        """What came since the last call, None when nothing did. `end`: offset behind the last row."""

    def close(self) -> None:
        """Leave what was not taken."""
