"""Figures of one task's stream, for people who watch it: how much, how fast, how long it takes, how full it is.

Rate and latency are moving averages over checkpoints, new = 0.1 · current + 0.9 · old; the first one counts whole.
Everything is since the task opened here, and changes at checkpoints and full buffers only: nothing is done per event.
"""

from dataclasses import dataclass, field

ALPHA = 0.1


class Smoothed:
    """A moving average."""

    def __init__(self) -> None:
        self.value = 0.0
        self._is_first = True

    def add(self, current: float) -> None:
        """The next value."""
        self.value = current if self._is_first else ALPHA * current + (1 - ALPHA) * self.value
        self._is_first = False


@dataclass
class StreamFigures:
    """events: records in commits; held: how often a full buffer made work or fetching wait; committed_at_ms: wall clock
    of the last commit, 0 before the first one.
    """

    events: int = 0
    held: int = 0
    committed_at_ms: int = 0
    events_per_s: Smoothed = field(default_factory=Smoothed)
    latency_ms: Smoothed = field(default_factory=Smoothed)
    _counted_at_ms: int = 0

    def committed(self, records: int, first_ms: int, now_ms: int) -> None:
        """A checkpoint of so many records, the oldest fetched at first_ms (0: unknown), is committed."""
        self.committed_at_ms = now_ms
        if not records:
            return
        self.events += records
        if first_ms:
            self.latency_ms.add(max(0, now_ms - first_ms))
            began_ms = max(first_ms, self._counted_at_ms)
            self.events_per_s.add(records * 1_000 / max(1, now_ms - began_ms))
        self._counted_at_ms = now_ms

    def hold(self) -> None:
        """A buffer is full."""
        self.held += 1
