"""GET /v1/events, /v1/events/stream: what happened, in pages, or as it happens."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import Depends, Header, Query, Request, Response

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.feed import EventFeed, FeedEvent, catch_up, encode_cursor, parse_cursor
from streamflow.bus.filter import EventFilter
from streamflow.errors import BrokerUnavailable, TopicError, UserError
from streamflow.web.fanout import Outbox, Seats
from streamflow.web.guard import is_seated
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable
from streamflow.web.routes import Routes
from streamflow.web.server_sent_events import HEARTBEAT_S, EventStream, encode_event

#: Clients that follow the bus at once, and what waits for each: a slower one is disconnected, and comes back.
CLIENTS_MAX = 1_000
WAITING_MAX_EVENTS = 5_000
WAITING_MAX_BYTES = 4 << 20
PAGE_MAX = 1_000
CHUNK_BYTES = 64 << 10


def wanted_events(
    kind: Annotated[list[EventType] | None, Query(alias="type", description="any of these types")] = None,
    topology: Annotated[str, Query(description="of this topology")] = "",
    node: Annotated[str, Query(description="of this node")] = "",
    key: Annotated[str, Query(description="with this partitionkey, such as an execution's id")] = "",
    severity: Annotated[Severity, Query(description="at least")] = Severity.DEBUG,
    since: Annotated[datetime | None, Query(description="not before")] = None,
    until: Annotated[datetime | None, Query(description="before")] = None,
) -> EventFilter:
    """The filter of a request."""
    types = frozenset(each.value for each in kind or ())
    return EventFilter(types, topology, node, key, severity, _utc(since), _utc(until))


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)


Wanted = Annotated[EventFilter, Depends(wanted_events)]
Cursor = Annotated[str | None, Query(description="go on where an answer, or the id of an event, said")]


class EventClients:
    """Who follows the bus here."""

    def __init__(self) -> None:
        self.seats = Seats(CLIENTS_MAX, "the bus")
        self.outboxes: set[Outbox] = set()

    def close(self) -> None:
        """End every stream: the worker stops."""
        for outbox in self.outboxes:
            outbox.close("worker_stops")


def event_routes(service: Service, clients: EventClients) -> Routes:
    """Routes of the event bus."""
    router = Routes(tags=["events"])

    @router.get("/v1/events", operation_id="list_events")
    async def list_events(
        wanted: Wanted, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100
    ) -> Response:
        """Events that match, oldest first in each partition, with the cursor of the next page. `at_end`: nothing more
        was there; a page may be empty before that."""
        # Kafka knows no time before its first; negative ones mean something else to it.
        since_ms = None if wanted.since is None else max(0, int(wanted.since.timestamp() * 1_000))
        try:
            page = await feed_of(service).page(_positions(cursor), since_ms, wanted, limit)
        except (BrokerUnavailable, TopicError) as error:
            raise broker_unavailable(error) from error
        return JsonResponse({"events": page.events, "cursor": encode_cursor(page.positions), "at_end": page.at_end})

    @router.get(
        "/v1/events/stream",
        operation_id="follow_events",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def follow_events(
        request: Request,
        wanted: Wanted,
        cursor: Cursor = None,
        last_event_id: Annotated[str | None, Header(description="as a browser sends it when it comes back")] = None,
    ) -> Response:
        """Server-sent events: those after `Last-Event-ID` or the cursor, else from now on. `position` events say in
        silence where to go on; `closed` says why the stream ends."""
        feed, given = feed_of(service), last_event_id or cursor
        starts = None if given is None else _positions(given)
        clients.seats.take()
        is_seated(request)
        outbox = Outbox(WAITING_MAX_EVENTS, WAITING_MAX_BYTES)
        clients.outboxes.add(outbox)

        def end() -> None:
            clients.seats.leave()
            clients.outboxes.discard(outbox)

        return EventStream(_told(feed, wanted, starts, outbox), end)

    return router


def feed_of(service: Service) -> EventFeed:
    """The bus, as routes read it. Raises Refusal where it is off."""
    if service.feed is None:
        raise Refusal(404, "events_off", "this worker has no event bus: STREAMFLOW_EVENTS_DETAIL is off")
    return service.feed


def _positions(cursor: str | None) -> dict[int, int]:
    try:
        return {} if cursor is None else parse_cursor(cursor)
    except UserError as error:
        raise Refusal(422, "bad_parameter", str(error)) from error


async def _told(
    feed: EventFeed, wanted: EventFilter, starts: dict[int, int] | None, outbox: Outbox
) -> AsyncGenerator[bytes, None]:
    """Chunks for one client: what it missed, then what comes."""
    latest = ""

    def put(told: FeedEvent) -> None:
        nonlocal latest
        latest = told.cursor
        if wanted.matches(told.event):
            place = told.event["partition"], told.event["offset"]
            outbox.put(place, encode_event(told.body, event=told.event["type"], id=latest))

    async with feed.following(put) as live:
        latest = encode_cursor(live)
        async with aclosing(catch_up(feed, live if starts is None else starts, live, wanted, PAGE_MAX)) as missed:
            async for event, cursor in missed:
                yield encode_event(orjson.dumps(event), event=event["type"], id=cursor)
        yield _position(encode_cursor(live))
        while not outbox.closed:
            if await outbox.wait(HEARTBEAT_S):
                yield b"".join(outbox.take(CHUNK_BYTES))
            else:
                yield _position(latest)
        yield encode_event(orjson.dumps({"reason": outbox.closed}), event="closed")


def _position(cursor: str) -> bytes:
    return encode_event(b"{}", event="position", id=cursor)
