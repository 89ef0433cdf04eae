"""A client that follows the bus over a WebSocket: what it missed, then what comes, `{"events": […]}`.

Nothing is left out and nothing replaced: a client for whom too much waits is sent away, and comes back with its token.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson

from streamflow.bus.feed import EventFeed, FeedEvent, catch_up, encode_cursor, parse_cursor
from streamflow.bus.filter import EventFilter
from streamflow.web.events import CHUNK_BYTES, PAGE_MAX, WAITING_MAX_BYTES, WAITING_MAX_EVENTS
from streamflow.web.fanout import Outbox
from streamflow.web.live.subscription import Message
from streamflow.web.server_sent_events import HEARTBEAT_S


class EventSubscription:
    """Follows the bus while `messages` is read, by one task. `token`: a cursor to go on from; else it begins now.

    Raises UserError for a token that is none.
    """

    def __init__(self, feed: EventFeed, wanted: EventFilter, token: str | None) -> None:
        self._feed, self._wanted = feed, wanted
        self._starts = None if token is None else parse_cursor(token)
        self._outbox = Outbox(WAITING_MAX_EVENTS, WAITING_MAX_BYTES)
        self._latest = ""

    async def open(self) -> None:
        """The bus is always there."""

    def close(self) -> None:
        """Nothing more comes; idempotent."""
        self._outbox.close("closed")

    def _put(self, told: FeedEvent) -> None:
        self._latest = told.cursor
        if self._wanted.matches(told.event):
            self._outbox.put((told.event["partition"], told.event["offset"]), told.body)

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What the client is sent; ends after a bye. Raises BrokerUnavailable."""
        async with self._feed.following(self._put) as live:
            self._latest = encode_cursor(live)
            starts = live if self._starts is None else self._starts
            async with aclosing(catch_up(self._feed, starts, live, self._wanted, PAGE_MAX)) as missed:
                async for event, cursor in missed:
                    yield Message("events", _body([orjson.dumps(event)]), cursor)
            yield Message("events", _body([]), encode_cursor(live))
            while not self._outbox.closed:
                waits = await self._outbox.wait(HEARTBEAT_S)
                events = self._outbox.take(CHUNK_BYTES)
                if events or not waits:
                    yield Message("events", _body(events), self._latest if self._outbox.is_empty else "")
        yield Message("bye", orjson.dumps({"reason": self._outbox.closed}))


def _body(events: list[bytes]) -> bytes:
    return b'{"events":[%s]}' % b",".join(events)
