"""How rows leave, around the Kafka transaction of a checkpoint.

    add(row) …              rows of one partition of the sink's feed, in the order of their offsets
    take(end) → Batch       at a checkpoint: what came since the last one, up to the offset `end`
    batch.prepare()         before Kafka's commit: durable outside, or ready to be
    batch.settle()          after it: seen by everybody

Kafka's commit says how far the feed was delivered. Whoever opens the partition next makes what is outside agree with
it, and says from which offset on rows are new (`done_until`): a database may be ahead of Kafka by a batch, files never
are.
"""

from typing import Any, Protocol


class Batch(Protocol):
    """Rows between two checkpoints. Both calls come from a thread of their own, one after the other."""

    def prepare(self) -> None:
        """Raises SinkFailed."""

    def settle(self) -> None:
        """Raises SinkFailed."""


class Delivery(Protocol):
    """Of one task. `done_until`: rows before this offset are outside already."""

    done_until: int

    def add(self, row: Any) -> None:
        """One more row. Raises SinkFailed."""

    def take(self, end: int) -> Batch | None:
        """What came since the last call, None when nothing did. `end`: offset behind the last row."""

    def close(self) -> None:
        """Leave what was not taken."""
