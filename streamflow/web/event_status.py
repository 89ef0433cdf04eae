"""GET /v1/events/status: the status table, made from the log when it is first asked for, and followed from then on."""

import asyncio
from contextlib import AsyncExitStack

from fastapi import Response

from streamflow.bus.feed import EventFeed, FeedEvent, catch_up, encode_cursor
from streamflow.bus.filter import EventFilter
from streamflow.bus.projection import StatusTable
from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.web.events import feed_of
from streamflow.web.ports import Service
from streamflow.web.problems import broker_unavailable
from streamflow.web.routes import Routes

_PAGE_EVENTS = 1_000


class FollowedStatus:
    """The table of one process."""

    def __init__(self) -> None:
        self._table: StatusTable | None = None
        self._cursor = ""
        self._making = asyncio.Lock()
        self._following = AsyncExitStack()

    async def table(self, feed: EventFeed) -> StatusTable:
        """The table, which goes on to follow the log. Raises BrokerUnavailable, TopicError."""
        async with self._making:
            if self._table is None:
                await self._make(feed)
        assert self._table is not None
        return self._table

    async def read(self, feed: EventFeed) -> tuple[bytes, str]:
        """(the table, the cursor up to which it reflects the log)."""
        return (await self.table(feed)).encode(), self._cursor

    async def _make(self, feed: EventFeed) -> None:
        table = StatusTable()
        meanwhile: list[FeedEvent] = []

        def follow(told: FeedEvent) -> None:
            if self._table is None:
                meanwhile.append(told)
                return
            table.add(told.event)
            self._cursor = told.cursor

        async with AsyncExitStack() as stack:
            live = await stack.enter_async_context(feed.following(follow))
            self._cursor = encode_cursor(live)
            async for event, _ in catch_up(feed, {}, live, EventFilter(), _PAGE_EVENTS):
                table.add(event)
            self._table = table
            for told in meanwhile:
                follow(told)
            # Followed for as long as the process lives: what nobody refers to would be closed.
            self._following = stack.pop_all()


def status_routes(service: Service, status: FollowedStatus) -> Routes:
    """The route of the status table."""
    router = Routes(tags=["events"])

    @router.get("/v1/events/status", operation_id="show_status")
    async def show_status() -> Response:
        """What the log says of every topology and node: versions, states, counts of dead letters and late rows, alerts.
        `X-Cursor`: up to where; `streamflow audit rebuild --upto` makes the same bytes of it."""
        feed = feed_of(service)
        try:
            body, cursor = await status.read(feed)
        except (BrokerUnavailable, TopicError) as error:
            raise broker_unavailable(error) from error
        return Response(body, media_type="application/json", headers={"X-Cursor": cursor})

    return router
