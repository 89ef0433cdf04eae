"""Count windows: every `size` events of a key in order of arrival; with `slide`, a new one begins every `slide` events.

size 4, slide 2       events of one key     e0 e1 e2 e3 e4 e5
                      windows               [e0 … e3] [e2 … e5]       panes of gcd(4, 2) = 2 events

A window is complete or not there: what a key has beyond its last complete window waits for more events; with `within`
until so long after its first one, then they are a window although they are fewer.
"""

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True, slots=True)
class Counted:
    """1 <= `slide` <= `size` events. within_ms: of event time, 0: for ever; only where `slide` is `size`."""

    size: int
    slide: int
    within_ms: int = 0

    @property
    def pane(self) -> int:
        """Events in a pane."""
        return gcd(self.size, self.slide)

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return f"count {self.size} {self.slide}"
