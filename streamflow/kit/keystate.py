"""What a node remembers of one key: the values of its states, and its timers. One row of the store.

    cells      one per state: a stored value, a list or a dict of them; None when there is nothing
    written    per state the event time of its last write, for TTL
    timers     name → event time; clock: name → (wall clock, event time when it was set)
    size       bytes, counted at every write

A stored value is a scalar, or bytes: the msgpack of anything else, so that it cannot be changed behind our back.
"""

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from streamflow.errors import EventError

#: Bound of a key's row. A changelog record may have 4 MiB, so a row always fits.
KEY_MAX_BYTES = 1 << 20
#: Timers of each sort that one key may have.
TIMERS_MAX = 1_000
#: Event and wall times; beyond them 64 bits would not hold sums.
TIME_MAX = 1 << 61


class KeyState(msgspec.Struct, array_like=True, gc=False):
    """See above; sizes in bytes, times in ms."""

    cells: list[Any]
    written: list[int | None]
    timers: dict[str, int]
    clock: dict[str, tuple[int, int]]
    size: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self.timers and not self.clock and all(cell is None for cell in self.cells)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the row that the store has of it; empty when nothing is remembered."""
        return "" if self.is_empty else hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()

    def wanted(self, ttls: tuple[int | None, ...], without: Collection[str] = ()) -> int | None:
        """Event time at which something is due: the first timer (some left out), or the first end of a TTL."""
        times = [time_ms for name, time_ms in self.timers.items() if name not in without] if self.timers else []
        first = min(times) if times else None
        for written, ttl in zip(self.written, ttls, strict=True):
            if written is not None and ttl is not None and (first is None or written + ttl < first):
                first = written + ttl
        return first

    def wanted_clock(self) -> int | None:
        """Wall clock of the first clock timer."""
        return min(at for at, _ in self.clock.values()) if self.clock else None

    def expire(self, now_ms: int, ttls: tuple[int | None, ...]) -> bool:
        """Forget states whose TTL ends at or before a time; whether there were any."""
        found = False
        for number, ttl in enumerate(ttls):
            written = self.written[number]
            if ttl is not None and written is not None and written + ttl <= now_ms:
                self.size -= cell_size(self.cells[number])
                self.cells[number] = self.written[number] = None
                found = True
        return found


def stored_size(stored: Any) -> int:
    """Bytes of a stored value, never less than msgpack takes."""
    if stored.__class__ is str:
        return 5 + (len(stored) if stored.isascii() else len(stored.encode(errors="surrogatepass")))
    return 5 + len(stored) if stored.__class__ is bytes else 9


def cell_size(cell: Any) -> int:
    """Bytes of a cell."""
    if cell is None:
        return 0
    if cell.__class__ is list:
        return sum(map(stored_size, cell))
    if cell.__class__ is dict:
        return sum(stored_size(key) + stored_size(value) for key, value in cell.items())
    return stored_size(cell)


class Current:
    """The key that a node is working on, and how to undo what the call at hand has done to it."""

    def __init__(self) -> None:
        self.state: KeyState | None = None
        self.key: Any = None
        self.time_ms = 0
        #: The wall clock in ms.
        self.now: Callable[[], int] = lambda: 0
        #: The watermark in ms.
        self.watermark: Callable[[], int] = lambda: -TIME_MAX
        #: Event-time timers must lie beyond this one: the timer that is firing.
        self.firing_ms: int | None = None
        self.undo: list[tuple[Any, ...]] = []
        self._size = 0

    def enter(self, state: KeyState, key: Any, time_ms: int, firing_ms: int | None = None) -> None:
        """Begin a call."""
        self.state, self.key, self.time_ms, self.firing_ms = state, key, time_ms, firing_ms
        self._size = state.size

    def rollback(self) -> None:
        """Take back every write of the call."""
        state = self.entered()
        for function, *arguments in reversed(self.undo):
            function(*arguments)
        self.undo.clear()
        state.size = self._size

    def entered(self) -> KeyState:
        """State of the key at hand. Raises EventError outside of a call."""
        if self.state is None:
            raise EventError("process", "a node has state and timers only while it works on a row; try it with a Trial")
        return self.state

    def grow(self, size_bytes: int) -> None:
        """Count bytes. Raises EventError(`state_full`) beyond the bound of a key."""
        state = self.entered()
        size = state.size + size_bytes
        if size > KEY_MAX_BYTES:
            message = f"the state of key {self.key!r} would take {size} bytes, at most {KEY_MAX_BYTES} are kept"
            raise EventError("state_full", f"{message}; lower max_entries, or let it expire by a ttl")
        state.size = size
