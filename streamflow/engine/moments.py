"""When the rows of a timer are due: row i of n at every k × `every` + `every` × i / n, ms since the epoch.

Whoever goes on begins behind the last moment that was worked on, which is the highest event time of the task: rows of
one partition are published in the order of their moments. So a successor needs to know nothing else.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Moments of a row that are made up for at most.
MADE_UP_MAX = 1_000


@dataclass(slots=True)
class Moments:
    """Of those `rows` of a timer with `row_count` that one partition has. missed: those that were passed over."""

    every_ms: int
    row_count: int
    makes_up: bool
    missed: int = 0
    _due: list[tuple[int, int]] = field(default_factory=list)

    def begin(self, rows: Iterable[int], now_ms: int, last_ms: int | None) -> None:
        """Go on behind `last_ms`; where there was none yet, every row is due."""
        self._due = [(self._next(row, now_ms, last_ms), row) for row in rows]
        heapq.heapify(self._due)

    def take(self, now_ms: int, most: int) -> list[tuple[int, int]]:
        """(moment, row) of what is due and was not taken, the first ones first, so many at most, and those of the last
        one's moment: who goes on begins behind it."""
        found: list[tuple[int, int]] = []
        while self._due and self._due[0][0] <= now_ms:
            moment, row = self._due[0]
            if len(found) >= most and moment > found[-1][0]:
                break
            found.append((moment, row))
            heapq.heapreplace(self._due, (self._next(row, now_ms, moment), row))
        return found

    @property
    def next_ms(self) -> int | None:
        """The next moment of any row, None without rows."""
        return self._due[0][0] if self._due else None

    def _latest(self, row: int, now_ms: int) -> int:
        offset_ms = self.every_ms * row // self.row_count
        return (now_ms - offset_ms) // self.every_ms * self.every_ms + offset_ms

    def _next(self, row: int, now_ms: int, last_ms: int | None) -> int:
        latest_ms = self._latest(row, now_ms)
        if last_ms is None:
            return latest_ms
        following_ms = self._latest(row, last_ms) + self.every_ms
        earliest_ms = latest_ms - (MADE_UP_MAX - 1) * self.every_ms if self.makes_up else latest_ms
        if following_ms >= earliest_ms:
            return following_ms
        self.missed += (earliest_ms - following_ms) // self.every_ms
        return earliest_ms
