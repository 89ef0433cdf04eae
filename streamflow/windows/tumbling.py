"""Tumbling windows: panes of one size, side by side, half open.

size 10, offset 3        … [-7,3) [3,13) [13,23) …
start = t - (t - offset) mod size          (floor, so negative times work)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tumbling:
    """`size_ms` >= 1; `offset_ms` in [0, size_ms) moves the borders away from the epoch (UTC)."""

    size_ms: int
    offset_ms: int = 0

    def start_of(self, time_ms: int) -> int:
        """Start of the pane that holds `time_ms`; the pane is [start, start + size_ms)."""
        return time_ms - (time_ms - self.offset_ms) % self.size_ms
