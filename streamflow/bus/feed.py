"""Events as readers get them: in pages, or as they come; and the cursor that says where to go on.

A cursor is text, `partition:offset` separated by commas, of the next record of each partition. It holds on every
worker, and after every restart.
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from streamflow.bus.filter import EventFilter
from streamflow.errors import UserError

#: As many partitions as a bus can have, 19 digits each.
CURSOR_MAX_CHARS = 2_000
_CURSOR = re.compile(r"\d{1,3}:\d{1,18}(,\d{1,3}:\d{1,18})*")


def encode_cursor(positions: Mapping[int, int]) -> str:
    """Cursor of next offsets per partition."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items()))


def parse_cursor(cursor: str) -> dict[int, int]:
    """Reverse of `encode_cursor`. Raises UserError."""
    if len(cursor) > CURSOR_MAX_CHARS or not _CURSOR.fullmatch(cursor):
        raise UserError("the cursor is not one of ours: give it as an answer or an event's id had it")
    return {int(partition): int(offset) for partition, _, offset in (each.partition(":") for each in cursor.split(","))}


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, each with its `partition` and `offset`; where to go on; `at_end`: nothing more was there."""

    events: list[dict[str, Any]]
    positions: dict[int, int]
    at_end: bool


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event as it came, and as JSON. `cursor`: behind it, of all partitions."""

    event: dict[str, Any]
    body: bytes
    cursor: str


#: Told of every event; must not wait.
Listener = Callable[[FeedEvent], None]


class EventFeed(Protocol):
    """The bus as a process reads it for others."""

    async def page(self, starts: Mapping[int, int], since_ms: int | None, wanted: EventFilter, limit: int) -> EventPage:
        """Events that match, from `starts` (its beginning for partitions that are left out) or from a time on. At most
        `limit`, of a bounded number that is looked at, so a page may be empty before the end. Raises BrokerUnavailable.
        """

    def following(self, listener: Listener) -> AbstractAsyncContextManager[Mapping[int, int]]:
        """Tell a listener of every event from now on; gives where it begins. Raises BrokerUnavailable."""


async def catch_up(
    feed: EventFeed, starts: Mapping[int, int], upto: Mapping[int, int], wanted: EventFilter, page_events: int
) -> AsyncGenerator[tuple[dict[str, Any], str], None]:
    """(event, cursor behind it) of what matches from `starts` up to `upto`, not included. Raises BrokerUnavailable."""
    positions = {partition: starts.get(partition, 0) for partition in upto}
    at_end = False
    while not at_end and any(positions[partition] < end for partition, end in upto.items()):
        page = await feed.page(positions, None, wanted, page_events)
        for event in page.events:
            if event["offset"] < upto[event["partition"]]:
                positions[event["partition"]] = event["offset"] + 1
                yield event, encode_cursor(positions)
        positions = {p: max(positions[p], min(page.positions.get(p, 0), end)) for p, end in upto.items()}
        at_end = page.at_end
