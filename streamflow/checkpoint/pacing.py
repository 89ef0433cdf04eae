"""When a task commits: soon while little waits, at the interval under load, early when bounds are near.

pending records   since last start     commit?
none              any                  only for a changed watermark or idleness
< few             >= its turn          yes: latency; all tasks of a worker take turns, so that their price is bounded
many              >= interval          yes: throughput; one transaction costs 1 ms CPU whatever is in it
at a bound        any                  yes, and the task waits for it when one is in flight
"""

import math
from dataclasses import dataclass

#: Fewer pending records than this are committed without waiting for the interval.
FEW_RECORDS = 1_000
#: Time between two transactions of the tasks of a worker that are hurried, ms: 100 a second, a tenth of a core.
TURN_MS = 10.0
#: Of commits without a transaction, which cost little.
CHEAP_TURN_MS = 1.25
#: A task that has committed so lately takes its turns.
_ACTIVE_MS = 1_000.0


class Turns:
    """Which tasks of a worker commit now. With n of them, each waits n turns between two hurried commits."""

    def __init__(self, turn_ms: float = TURN_MS) -> None:
        self._turn_ms = turn_ms
        self._started_ms: dict[object, float] = {}

    def take(self, task: object, now_ms: float) -> None:
        """A task begins a commit."""
        self._started_ms[task] = now_ms

    def leave(self, task: object) -> None:
        """The task is gone."""
        self._started_ms.pop(task, None)

    def gap_ms(self, now_ms: float) -> float:
        """Least time between two hurried commits of a task."""
        active = sum(now_ms - started_ms < _ACTIVE_MS for started_ms in self._started_ms.values())
        return self._turn_ms * max(1, active)


@dataclass(frozen=True, slots=True)
class Pacing:
    """Bounds of one task. Intervals in ms."""

    interval_ms: float
    max_outputs: int
    max_bytes: int

    def wait_ms(self, since_ms: float, gap_ms: float, records: int, outputs: int, size_bytes: int) -> float:
        """Time until a commit is due, `since_ms` after the last one was started; 0 when it is.

        gap_ms: how long a hurried one waits, as `Turns` says.
        """
        if self.is_full(outputs, size_bytes):
            return 0.0
        least_ms = min(gap_ms, self.interval_ms) if records < FEW_RECORDS else self.interval_ms
        return max(0.0, least_ms - since_ms)

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

    def wait_ms(self, since_ms: float, gap_ms: float, records: int, outputs: int, size_bytes: int) -> float:
        """Time until a commit is due."""
        return super().wait_ms(since_ms, math.inf, records, outputs, size_bytes)
