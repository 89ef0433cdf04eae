"""Tumbling windows: one size, side by side, half open. Each window is one pane.

size 10, offset 3        … [-7,3) [3,13) [13,23) …
start = t - (t - offset) mod size          (floor, so negative times work)
"""

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True, slots=True)
class Tumbling:
    """`size_ms` >= 1; `offset_ms` in [0, size_ms) moves the borders away from the epoch (UTC)."""

    size_ms: int
    offset_ms: int = 0

    def pane_of(self, time_ms: int) -> tuple[int, int]:
        """(start, end) of the pane that holds `time_ms`."""
        start = time_ms - (time_ms - self.offset_ms) % self.size_ms
        return start, start + self.size_ms

    def next_end(self, time_ms: int) -> int:
        """Smallest end of a window that is greater than `time_ms`."""
        return self.pane_of(time_ms)[1]

    def start_of_end(self, end_ms: int) -> int:
        """Start of the window that ends at `end_ms`."""
        return end_ms - self.size_ms

    def last_end(self, time_ms: int) -> int:
        """End of the last window that holds `time_ms`."""
        return self.pane_of(time_ms)[1]

    @property
    def cell_ms(self) -> int:
        """Borders of panes lie on multiples of it, so a time's pane follows from `time // cell_ms`."""
        return gcd(self.size_ms, self.offset_ms)

    @property
    def span_ms(self) -> int:
        """Length of the longest window."""
        return self.size_ms

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return f"tumbling {self.size_ms} {self.offset_ms}"
