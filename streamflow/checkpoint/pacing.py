"""When a task commits: at once while little waits, at the interval under load, early when bounds are near.

pending records   since last start     commit?
none              any                  only for a changed watermark or idleness
< few             >= gap               yes: latency; the broker's markers set the floor
many              >= interval          yes: throughput; one transaction costs 1 ms CPU whatever is in it
at a bound        any                  yes, and the task waits for it when one is in flight
"""

from dataclasses import dataclass

#: Fewer pending records than this are committed without waiting for the interval.
FEW_RECORDS = 1_000
#: Shortest time between two commits of a task, ms.
GAP_MS = 5


@dataclass(frozen=True, slots=True)
class Pacing:
    """Bounds of one task. Intervals in ms."""

    interval_ms: float
    max_outputs: int
    max_bytes: int

    def is_due(self, since_ms: float, records: int, outputs: int, size_bytes: int) -> bool:
        """Whether to commit now, `since_ms` after the last commit was started."""
        if since_ms >= self.interval_ms or self.is_full(outputs, size_bytes):
            return True
        return records < FEW_RECORDS and since_ms >= GAP_MS

    def is_full(self, outputs: int, size_bytes: int) -> bool:
        """Whether a bound is reached: no more work before a commit."""
        return outputs >= self.max_outputs or size_bytes >= self.max_bytes

    def ratio(self, outputs: int, size_bytes: int) -> float:
        """The same as a part of the bound, at most 1."""
        return min(1.0, max(outputs / self.max_outputs, size_bytes / self.max_bytes))


class Rolling(Pacing):
    """Of sinks outside of Kafka: a checkpoint is a file or a transaction of a database, so that few are not hurried.

    The time is since the oldest record that waits, where one does.
    """

    __slots__ = ()

    def is_due(self, since_ms: float, records: int, outputs: int, size_bytes: int) -> bool:
        """Whether to commit now."""
        return since_ms >= self.interval_ms or self.is_full(outputs, size_bytes)
