"""Record keys gathered in any order, read once in ascending order, in little memory however many there are.

    add ──► fresh (up to RUN_KEYS) ──► run: sorted, PAGE_KEYS of them joined to one object each
    ascending() ──► merge of all runs, page by page, each key once

A key in a run takes its own bytes and one more, one in a list some 40 beside them.
"""

from collections.abc import Iterator
from heapq import merge

from streamflow.state.keys import AFTER_TEXT

RUN_KEYS = 1 << 15
PAGE_KEYS = 1 << 10


class KeyRuns:
    """Keys as bytes of UTF-8."""

    __slots__ = ("_fresh", "_runs")

    def __init__(self) -> None:
        self._fresh: list[bytes] = []
        self._runs: list[list[bytes]] = []

    def add(self, key: bytes) -> None:
        """Add a key."""
        self._fresh.append(key)
        if len(self._fresh) >= RUN_KEYS:
            keys = sorted(set(self._fresh))
            self._fresh = []
            # The last page first: reading takes them from the end and lets them go.
            places = reversed(range(0, len(keys), PAGE_KEYS))
            self._runs.append([AFTER_TEXT.join(keys[at : at + PAGE_KEYS]) for at in places])

    @property
    def count(self) -> int:
        """How many there are, roughly: one that was added twice may count twice."""
        return len(self._fresh) + len(self._runs) * RUN_KEYS

    def ascending(self) -> Iterator[bytes]:
        """Keys in byte order, each once. They are gone then."""
        keys = iter(sorted(set(self._fresh)))
        if not self._runs:
            yield from keys
            return
        last = None
        for key in merge(keys, *map(_unpacked, self._runs)):
            if key != last:
                yield key
            last = key


def _unpacked(pages: list[bytes]) -> Iterator[bytes]:
    while pages:
        yield from pages.pop().split(AFTER_TEXT)
