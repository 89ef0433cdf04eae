"""An event feed in memory: what a test adds is what pages and listeners get."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from streamflow.bus.feed import EventPage, FeedEvent, Listener, encode_cursor
from streamflow.bus.filter import EventFilter

PARTITIONS = 2
#: Events looked at for one page.
SCAN_MAX = 50


class MemoryFeed:
    """Implements `bus.feed.EventFeed`."""

    def __init__(self) -> None:
        self.logs: dict[int, list[dict[str, Any]]] = {p: [] for p in range(PARTITIONS)}
        self.listeners: set[Listener] = set()

    def add(self, number: int, partition: int = 0, **more: Any) -> None:
        """Something happened."""
        log = self.logs[partition]
        event: dict[str, Any] = {"id": str(number), "type": "SCALED", "subject": "t", "time": _time(number), **more}
        event |= {"partition": partition, "offset": len(log)}
        log.append(event)
        cursor = encode_cursor({p: len(each) for p, each in self.logs.items()})
        for listener in tuple(self.listeners):
            listener(FeedEvent(event, orjson.dumps(event), cursor))

    async def page(self, starts: Mapping[int, int], since_ms: int | None, wanted: EventFilter, limit: int) -> EventPage:
        """Partition after partition."""
        positions = {p: starts.get(p, 0) for p in self.logs}
        found: list[dict[str, Any]] = []
        scanned = 0
        for partition, log in self.logs.items():
            for event in log[positions[partition] :]:
                if len(found) >= limit or scanned >= SCAN_MAX:
                    return EventPage(found, positions, at_end=False)
                scanned += 1
                positions[partition] += 1
                if wanted.matches(event):
                    found.append(event)
        return EventPage(found, positions, at_end=True)

    @asynccontextmanager
    async def following(self, listener: Listener) -> AsyncIterator[Mapping[int, int]]:
        """From now on."""
        self.listeners.add(listener)
        try:
            yield {p: len(log) for p, log in self.logs.items()}
        finally:
            self.listeners.discard(listener)


def _time(second: int) -> str:
    return f"2026-01-01T{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
