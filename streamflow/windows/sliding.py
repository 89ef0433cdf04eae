"""Sliding windows: one size, a new one every `slide`; they overlap and share panes.

size 10, slide 4, offset 0          r = size mod slide = 2

    windows     [0        10)
                    [4        14)
                        [8        18)
    panes       [0 2)[2 4)[4 6)[6 8)[8 10)…     borders at k·slide and at k·slide + r

Windows start at k·slide and end at k·slide + size, and size = n·slide + r, so every start and every end is a pane
border: an event touches one pane, a window is the merge of its panes. Two panes per slide (one when r = 0) are the
fewest that can do it, whatever the ratio: the paired windows of Krishnamurthy, Wu and Franklin, "On-the-fly sharing for
streamed aggregation", SIGMOD 2006.
"""

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True, slots=True)
class Sliding:
    """1 <= `slide_ms` <= `size_ms`; a window starts at every `offset_ms` + k · slide."""

    size_ms: int
    slide_ms: int
    offset_ms: int = 0

    def pane_of(self, time_ms: int) -> tuple[int, int]:
        """(start, end) of the pane that holds `time_ms`."""
        within = (time_ms - self.offset_ms) % self.slide_ms
        base, rest = time_ms - within, self.size_ms % self.slide_ms
        if within < rest:
            return base, base + rest
        return base + rest, base + self.slide_ms

    def next_end(self, time_ms: int) -> int:
        """Smallest end of a window that is greater than `time_ms`."""
        return time_ms + self.slide_ms - (time_ms - self.offset_ms - self.size_ms) % self.slide_ms

    def start_of_end(self, end_ms: int) -> int:
        """Start of the window that ends at `end_ms`."""
        return end_ms - self.size_ms

    def last_end(self, time_ms: int) -> int:
        """End of the last window that holds `time_ms`."""
        return time_ms - (time_ms - self.offset_ms) % self.slide_ms + self.size_ms

    @property
    def cell_ms(self) -> int:
        """Borders of panes lie on multiples of it, so a time's pane follows from `time // cell_ms`."""
        return gcd(self.size_ms, self.slide_ms, self.offset_ms)

    @property
    def span_ms(self) -> int:
        """Length of the longest window."""
        return self.size_ms

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return f"sliding {self.size_ms} {self.slide_ms} {self.offset_ms}"
