"""What waits for one client: bounded, and the latest per key when the client is slow.

    put(key, data) ──► {key: data}      a newer value takes the place of the one that waits under its key
                         │
    take() ◄─────────────┘              everything that waits, or so many bytes of it, oldest key first

Whoever puts never waits. More keys or bytes than the bounds allow close the outbox, and its client is told why and
comes back with what it has seen. Single-threaded.
"""

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any

from streamflow.web.problems import Refusal

ITEMS_MAX = 20_000
MAX_BYTES = 8 << 20
#: Why an outbox closes by itself.
SLOW_READER = "slow_reader"


class Outbox:
    """Data that waits for one client.

    closed: why nothing more comes, "" while it is open. `put` of a closed one does nothing.
    """

    def __init__(self, items_max: int = ITEMS_MAX, max_bytes: int = MAX_BYTES) -> None:
        self._items_max, self._max_bytes = items_max, max_bytes
        self._items: dict[Hashable, bytes] = {}
        self._size_bytes = 0
        self._filled = asyncio.Event()
        self.closed = ""

    def put(self, key: Hashable, data: bytes) -> None:
        """Let data wait; what waits under the same key is forgotten."""
        self.put_all({key: data}, len(data))

    def put_all(self, items: Mapping[Any, bytes], size_bytes: int) -> None:
        """The same of several; `size_bytes` is the sum of their lengths."""
        if self.closed or not items:
            return
        if not self._items:
            self._items.update(items)
            self._size_bytes = size_bytes
        else:
            for key, data in items.items():
                self._size_bytes += len(data) - len(self._items.get(key, b""))
                self._items[key] = data
        if len(self._items) > self._items_max or self._size_bytes > self._max_bytes:
            self.close(SLOW_READER)
        self._filled.set()

    def wake(self) -> None:
        """There is something to tell besides the items."""
        self._filled.set()

    def close(self, reason: str) -> None:
        """Nothing more comes, and what waits is forgotten. The first reason stays."""
        self.closed = self.closed or reason
        self._items = {}
        self._size_bytes = 0
        self._filled.set()

    async def wait(self, timeout_s: float) -> bool:
        """Until something waits, `wake` was called or it is closed; whether that was so within the time."""
        if self._filled.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._filled.wait()
        except TimeoutError:
            return False
        return True

    def take(self, limit_bytes: int = MAX_BYTES) -> list[bytes]:
        """What waits, at least one of it and else at most so many bytes. What is left is there for the next call."""
        if self._size_bytes <= limit_bytes:
            taken = list(self._items.values())
            self._items, self._size_bytes = {}, 0
        else:
            taken, size_bytes = [], 0
            while self._items and (not taken or size_bytes < limit_bytes):
                data = self._items.pop(next(iter(self._items)))
                taken.append(data)
                size_bytes += len(data)
            self._size_bytes -= size_bytes
        if not self._items and not self.closed:
            self._filled.clear()
        return taken

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items

    def drop(self, prefix: bytes) -> None:
        """Forget what waits under keys (bytes) that begin so."""
        for key in [key for key in self._items if isinstance(key, bytes) and key.startswith(prefix)]:
            self._size_bytes -= len(self._items.pop(key))


class Seats:
    """Clients that may be connected at once. `name`: of what they follow, for whoever is refused."""

    def __init__(self, seat_count: int, name: str) -> None:
        self._seat_count, self._name = seat_count, name
        self.taken_count = 0

    def take(self) -> None:
        """Take a seat; `leave` gives it back. Raises Refusal 503 when none is free."""
        if self.taken_count >= self._seat_count:
            detail = f"{self._seat_count} clients follow {self._name} here, no more are taken"
            raise Refusal(503, "too_many_clients", detail, retry_after_s=5)
        self.taken_count += 1

    def leave(self) -> None:
        """Give a seat back."""
        self.taken_count -= 1
