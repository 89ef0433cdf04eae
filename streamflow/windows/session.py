"""Session windows: runs of events of one key with less than `gap` between neighbours.

    gap 5      events 1 3 6      13 14            one in the middle, at 10, bridges them:
    sessions   [1        11)     [13     19)      [1                19)

A session is [first event, last event + gap). An event belongs to it when its own [t, t + gap) overlaps it; what
overlaps several sessions merges them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """`gap_ms` >= 1 of silence ends a session."""

    gap_ms: int

    @property
    def span_ms(self) -> int:
        """Shortest length of a window; sessions have no longest one."""
        return self.gap_ms

    @property
    def bucket_ms(self) -> int:
        """Closed sessions are stored by key inside buckets of their start, so that a key's sessions lie together."""
        return max(60_000, 16 * self.gap_ms)

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return f"session {self.gap_ms}"
