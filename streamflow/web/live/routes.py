"""GET /v1/topologies/{t}/tables/{table}/live: a table as server-sent events."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Header, Query, Request, Response

from streamflow.errors import UserError
from streamflow.model.partitioner import partition_of
from streamflow.web.guard import is_seated, require
from streamflow.web.live.changes import LiveFilter
from streamflow.web.live.hub import LiveTables
from streamflow.web.live.pace import Pace
from streamflow.web.live.subscription import Subscription, Wish
from streamflow.web.problems import Refusal
from streamflow.web.routes import Routes
from streamflow.web.server_sent_events import HEARTBEAT, EventStream, encode_event
from streamflow.web.tables import known_table, moment_ms, numbers
from streamflow.windows.calendar import Calendar
from streamflow.windows.tumbling import Tumbling

#: After how long a browser comes back by itself.
_RETRY_MS = 1_000


def live_routes(tables: LiveTables) -> Routes:
    """Routes that follow tables."""
    router = Routes()

    @router.get(
        "/v1/topologies/{topology}/tables/{table}/live",
        tags=["query"],
        operation_id="follow_table",
        response_class=Response,
        responses={
            200: {
                "description": "server-sent events `snapshot`, `delta` and `bye`",
                "content": {"text/event-stream": {}},
            }
        },
    )
    async def follow_table(
        request: Request,
        topology: str,
        table: str,
        key: str | None = Query(None, min_length=1, description="changes of one key"),
        prefix: str | None = Query(None, min_length=1, description="changes of keys that begin so"),
        start: str | None = Query(None, alias="from", description="first window start, ms or ISO 8601"),
        to: str | None = Query(None, description="window starts before this, ms or ISO 8601"),
        every_ms: int = Query(0, ge=0, le=60_000, description="least time between messages; the latest value wins"),
        snapshot: bool = Query(True, description="begin with the rows that are there"),
        resume: str | None = Query(None, description="id of the last event, as the header Last-Event-ID"),
        partitions: str | None = Query(
            None, description="own partitions, such as 0,3 (between workers: needs `operate`)"
        ),
        last_event_id: str | None = Header(None),
    ) -> Response:
        """The rows of a table, then every change, as soon as it is committed.

        With the id of the last event a client goes on where it was; partitions of which that is not known come anew,
        and say `reset`. docs/live.md has the wire."""
        if partitions is not None:  # on the seats of workers, and without a least time between messages
            require(request, "operate", topology=topology, table=table)
        texts = {"key": key, "prefix": prefix, "from": start, "to": to, "partitions": partitions}
        wish = wish_of(tables, topology, table, texts, every_ms=every_ms, with_snapshot=snapshot)
        subscription = await subscribed(tables, wish, last_event_id or resume)
        seats = tables.worker_seats if wish.is_worker else tables.seats
        is_seated(request)

        def end() -> None:
            subscription.close()
            seats.leave()

        return EventStream(_events(subscription, tables.pace), end)

    return router


def wish_of(
    tables: LiveTables, topology: str, name: str, texts: dict[str, str | None], *, every_ms: int, with_snapshot: bool
) -> Wish:
    """What a client's parameters mean. Raises Refusal."""
    service = tables.service
    found = known_table(service, topology, name)
    if found is None:
        raise Refusal(422, "not_live", f"{name} is a global table: follow its topic")
    stage, table = found
    if not service.reader(stage, table).is_row_by_row:
        raise Refusal(422, "not_live", f"windows of {name} overlap, so that a row stands in several: follow its sink")
    chosen = _filter_of(texts)
    if (chosen.from_ms, chosen.to_ms) != (None, None) and not isinstance(table.window, Tumbling | Calendar):
        raise Refusal(422, "bad_parameter", f"{name} has no windows with fixed borders: leave `from` and `to` out")
    given = texts["partitions"]
    count = service.partition_count(stage.input_topics[0])
    partitions = range(count) if chosen.key is None else [partition_of(chosen.key, count)]
    return Wish(
        stage,
        table,
        chosen,
        texts,
        tuple(partitions if given is None else numbers(given)),
        is_worker=given is not None,
        with_snapshot=with_snapshot,
        every_s=max(every_ms, 0 if given is not None else tables.limits.interval_ms) / 1_000,
    )


def _filter_of(texts: dict[str, str | None]) -> LiveFilter:
    key, prefix = texts["key"], texts["prefix"]
    try:
        start_ms, to_ms = moment_ms(texts["from"]), moment_ms(texts["to"])
    except UserError as error:
        raise Refusal(422, "bad_parameter", str(error)) from error
    return LiveFilter((key and key.encode()) or None, (prefix and prefix.encode()) or None, start_ms, to_ms)


async def subscribed(tables: LiveTables, wish: Wish, token: str | None) -> Subscription:
    """A subscription that is open, on a seat. Raises Refusal."""
    try:
        subscription = Subscription(tables, wish, token)
    except UserError as error:
        raise Refusal(422, "bad_parameter", str(error)) from error
    seats = tables.worker_seats if wish.is_worker else tables.seats
    seats.take()
    try:
        await subscription.open()
    except BaseException:
        seats.leave()
        raise
    return subscription


async def _events(subscription: Subscription, pace: Pace) -> AsyncGenerator[bytes, None]:
    retry_ms: int | None = _RETRY_MS
    async with aclosing(subscription.messages()) as messages:
        async for message in messages:
            started = time.monotonic()
            if message.kind:
                yield encode_event(message.body, event=message.kind, id=message.token, retry_ms=retry_ms)
                retry_ms = None
            else:
                yield HEARTBEAT
            pace.sent(time.monotonic() - started)
