"""/v1/ws: live tables and the bus over one WebSocket, several at a time. docs/live.md has the messages.

    client ── subscribe, unsubscribe, ack, ping ──► read by one task, one message after the other
    client ◄── subscribed, snapshot, delta, bye … ─ one task per subscription, sent in turn

The server pings every 20 s and cuts off who does not answer within 20 s. A client may have `SUBSCRIPTIONS_MAX`
subscriptions, and says with `window` how many messages it takes without an ack; what comes meanwhile waits, the latest
per id. Everything else is bounded as for server-sent events.
"""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
from fastapi import Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from streamflow.bus.filter import EventFilter
from streamflow.errors import BrokerUnavailable, UserError
from streamflow.web.events import feed_of
from streamflow.web.fanout import SLOW_READER
from streamflow.web.guard import is_seated, require
from streamflow.web.live.event_subscription import EventSubscription
from streamflow.web.live.hub import LiveTables
from streamflow.web.live.message_schema import VERSION, live_schema
from streamflow.web.live.routes import wish_of
from streamflow.web.live.socket_messages import Ack, Ping, Subscribe, SubscribeEvents, Unsubscribe, decode
from streamflow.web.live.subscription import Message, Subscription
from streamflow.web.problems import JsonResponse, Refusal
from streamflow.web.routes import Routes
from streamflow.web.server_sent_events import WRITE_S

log = logging.getLogger(__name__)

SUBSCRIPTIONS_MAX = 20
#: Bytes of a message from a client.
MESSAGE_MAX_BYTES = 64 << 10
PING_S = 20.0
#: Close codes: the server goes away, the client was too slow.
_RESTART, _SLOW = 1012, 1013


def socket_routes(tables: LiveTables) -> Routes:
    """The WebSocket, and what is said on it."""
    router = Routes()

    @router.get("/v1/ws/schema", tags=["look"], operation_id="show_message_schema")
    async def show_message_schema() -> Response:
        """JSON Schema of all messages of /v1/ws, and of the data of live tables' events, with its version."""
        return JsonResponse(live_schema())

    @router.websocket("/v1/ws", name="follow_tables")
    async def follow_tables(socket: WebSocket) -> None:
        """A conversation; see above."""
        if tables.is_stopping:
            raise Refusal(503, "stopping", "this worker stops", retry_after_s=1)
        tables.seats.take()
        is_seated(socket)
        try:
            await _Conversation(socket, tables).hold()
        finally:
            tables.seats.leave()

    return router


class _Followed:
    """A subscription of a conversation. `number`: of the last message sent, `acked`: of the last one acknowledged."""

    def __init__(self, subscription: Subscription | EventSubscription, window: int | None) -> None:
        self.subscription, self._window = subscription, window
        self.number = self._acked = 0
        self._open = asyncio.Event()
        self._open.set()
        self.telling: asyncio.Task[None] | None = None

    def sent(self) -> None:
        self.number += 1
        self._judge()

    def ack(self, number: int) -> None:
        self._acked = max(self._acked, min(number, self.number))
        self._judge()

    def _judge(self) -> None:
        if self._window is not None and self.number - self._acked >= self._window:
            self._open.clear()
        else:
            self._open.set()

    async def may_send(self) -> None:
        """Until the window has room."""
        await self._open.wait()


class _Conversation:
    """One client."""

    def __init__(self, socket: WebSocket, tables: LiveTables) -> None:
        self._socket, self._tables = socket, tables
        self._followed: dict[str, _Followed] = {}
        self._sending = asyncio.Lock()
        self._ended = asyncio.Event()
        self._why = ""

    def _end(self, why: str) -> None:
        """End the conversation; the first reason stays."""
        self._why = self._why or why
        self._ended.set()

    async def hold(self) -> None:
        """Until either side ends it."""
        await self._socket.accept()
        self._tables.on_stop(self._end)
        reading = asyncio.create_task(self._read(), name="client of /v1/ws")
        ending = asyncio.create_task(self._ended.wait(), name="end of /v1/ws")
        try:
            await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            else:
                await self._close()
        except WebSocketDisconnect:
            return
        finally:
            self._tables.forget(self._end)
            for each in list(self._followed):
                self._drop(each)
            for task in (reading, ending):
                task.cancel()
            await asyncio.wait([reading, ending])

    async def _close(self) -> None:
        code = _RESTART if self._why == "stopping" else _SLOW
        try:
            async with asyncio.timeout(1.0):  # who does not read does not hear of it either
                await self._socket.close(code, self._why)
        except (TimeoutError, RuntimeError):
            log.info("a client of /v1/ws took nothing and is cut off")

    # -- from the client ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            text = await self._socket.receive_text()
            try:
                message = decode(text)
            except msgspec.MsgspecError as error:
                await self._say({"type": "error", "status": 422, "title": "bad_message", "detail": str(error)})
                continue
            match message:
                case Ping():
                    await self._say({"type": "pong"})
                case Ack():
                    if message.id in self._followed:
                        self._followed[message.id].ack(message.number)
                case Unsubscribe():
                    self._drop(message.id)
                    await self._say({"type": "unsubscribed", "id": message.id})
                case Subscribe() | SubscribeEvents():
                    await self._subscribe(message)

    async def _subscribe(self, wanted: Subscribe | SubscribeEvents) -> None:
        try:
            if wanted.id in self._followed:
                raise Refusal(
                    409, "taken", f"there is a subscription {wanted.id!r}: unsubscribe it, or take another id"
                )
            if len(self._followed) >= SUBSCRIPTIONS_MAX:
                raise Refusal(429, "too_many_subscriptions", f"a client may have {SUBSCRIPTIONS_MAX} subscriptions")
            found = self._to_table(wanted) if isinstance(wanted, Subscribe) else self._to_events(wanted)
            await found.open()
        except UserError as error:
            await self._refuse(wanted.id, Refusal(422, "bad_parameter", str(error)))
        except Refusal as refusal:
            await self._refuse(wanted.id, refusal)
        else:
            followed = self._followed[wanted.id] = _Followed(found, wanted.window)
            await self._say({"type": "subscribed", "id": wanted.id, "version": VERSION})
            followed.telling = asyncio.create_task(self._tell(wanted.id, followed), name=f"follow {wanted.id}")

    async def _refuse(self, name: str, refusal: Refusal) -> None:
        problem = {"status": refusal.status, "title": refusal.reason, "detail": refusal.detail}
        await self._say({"type": "error", "id": name, **problem, **refusal.more})

    def _to_table(self, wanted: Subscribe) -> Subscription:
        topology = wanted.topology or self._tables.service.plan.topology
        require(self._socket, "query", topology=topology, table=wanted.table)
        times = {"from": wanted.start, "to": wanted.to}
        texts = {"key": wanted.key, "prefix": wanted.prefix, "partitions": None}
        texts |= {name: None if moment is None else str(moment) for name, moment in times.items()}
        wish = wish_of(
            self._tables, topology, wanted.table, texts, every_ms=wanted.every_ms, with_snapshot=wanted.snapshot
        )
        return Subscription(self._tables, wish, wanted.resume)

    def _to_events(self, wanted: SubscribeEvents) -> EventSubscription:
        require(self._socket, "operate")
        feed = feed_of(self._tables.service)
        types = frozenset(each.value for each in wanted.types)
        chosen = EventFilter(types, wanted.topology, wanted.node, wanted.key, wanted.severity)
        return EventSubscription(feed, chosen, wanted.resume)

    def _drop(self, name: str) -> None:
        followed = self._followed.pop(name, None)
        if followed is not None:
            followed.subscription.close()
            if followed.telling is not None:
                followed.telling.cancel()

    # -- to the client ------------------------------------------------------------------------------------------------

    async def _say(self, body: dict[str, Any]) -> None:
        await self._send(orjson.dumps(body).decode())

    async def _send(self, text: str) -> None:
        try:
            async with self._sending, asyncio.timeout(WRITE_S):
                await self._socket.send_text(text)
        except TimeoutError:
            self._end(SLOW_READER)
        except (WebSocketDisconnect, RuntimeError):  # it has gone; the reader hears of it
            self._end("gone")

    async def _tell(self, name: str, followed: _Followed) -> None:
        """Send what a subscription gives."""
        try:
            async with aclosing(followed.subscription.messages()) as messages:
                async for message in messages:
                    if message.kind:  # pings are signs of life enough
                        await followed.may_send()
                        started = time.monotonic()
                        followed.sent()
                        await self._send(_text(name, followed.number, message))
                        self._tables.pace.sent(time.monotonic() - started)
        except BrokerUnavailable as error:
            await self._say({"type": "bye", "id": name, "reason": "broker_unavailable", "detail": str(error)})
        if self._followed.get(name) is followed:
            self._drop(name)


def _text(name: str, number: int, message: Message) -> str:
    head = {"type": message.kind, "id": name, "number": number}
    if message.token:
        head["token"] = message.token
    return orjson.dumps(head)[:-1].decode() + "," + message.body[1:].decode()
