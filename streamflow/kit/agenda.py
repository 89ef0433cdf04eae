"""When keys want attention: one entry per key at the first such moment.

An entry that is no longer wanted stays until it comes up, finds nothing to do, and is entered again where it belongs.
So moving a timer further away costs nothing, however often; moving it nearer adds an entry. Memory: some 220 bytes for
each key with an entry, its own bytes included.
"""

import heapq
from typing import Any

#: Above every time.
NEVER = 1 << 62


class Agenda:
    """Keys by time. Ties come up in the order of their keys, which are all str or all int."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Any]] = []
        self._entered: dict[Any, int] = {}

    def want(self, key: Any, time_ms: int) -> bool:
        """See to it that a key comes up at a time at the latest; whether that is news."""
        entered = self._entered.get(key)
        if entered is not None and entered <= time_ms:
            return False
        self._entered[key] = time_ms
        heapq.heappush(self._heap, (time_ms, key))
        return True

    @property
    def first_ms(self) -> int:
        """The first time at which a key may come up, NEVER when none will."""
        return self._heap[0][0] if self._heap else NEVER

    def pop(self, upto_ms: int) -> tuple[int, Any] | None:
        """The next (time, key) at or before a time, oldest first; None when there is none."""
        heap = self._heap
        while heap and heap[0][0] <= upto_ms:
            entry = time_ms, key = heapq.heappop(heap)
            if self._entered.get(key) == time_ms:
                del self._entered[key]
                return entry
        return None

    def __len__(self) -> int:
        return len(self._heap)
