"""Server-sent events: how they are written, sent to a client, and read from another worker.

    id: <token>          only where a client may resume
    event: delta
    data: {...}          one line; JSON has its line breaks escaped
    <empty line>

A client that does not take what it is sent is cut off after `WRITE_S`. Memory per client is what its source holds, one
chunk, and the write buffer of its socket (64 KiB).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamflow.web.problems import Refusal

log = logging.getLogger(__name__)

#: A source gives a heartbeat when nothing else has come for so long; proxies cut silent connections after 30 to 60 s.
HEARTBEAT_S = 15.0
HEARTBEAT = b": alive\n\n"
#: How long a client may take for one chunk.
WRITE_S = 30.0


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """An event as it was read. `id` is empty when it had none."""

    event: str
    data: str
    id: str = ""


def encode_event(data: bytes, *, event: str = "", id: str = "", retry_ms: int | None = None) -> bytes:  # noqa: A002
    """An event's bytes. Line breaks in `data` are kept; in `event` and `id` they are refused with ValueError."""
    if any(mark in text for text in (event, id) for mark in "\r\n\0"):
        raise ValueError("a line break in the name or the id of an event")
    head = f"id: {id}\n" if id else ""
    head += f"event: {event}\n" if event else ""
    head += f"retry: {retry_ms}\n" if retry_ms is not None else ""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"%sdata: %s\n\n" % (head.encode(), data)


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    """Events of a response's lines, which come without their line ends; comments and `retry` are left out."""
    event, identity = "message", ""
    data: list[str] = []
    async for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield ServerSentEvent(event, "\n".join(data), identity)
            event, identity, data = "message", "", []
        elif name == "event":
            event = value
        elif name == "id":
            identity = value
        elif name == "data":
            data.append(value)


class EventStream(Response):
    """Sends the chunks of a source: events of `encode_event`, and HEARTBEAT; closes it when the client goes.

    on_end: called in the end, also when nothing could be sent.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[bytes], on_end: Callable[[], None] = lambda: None) -> None:
        self._chunks, self._on_end = chunks, on_end
        self.status_code, self.background = 200, None
        # X-Accel-Buffering: nginx would otherwise hold events back.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source ends or the client goes."""
        sending = asyncio.create_task(self._send_all(send), name="events")
        leaving = asyncio.create_task(_gone(receive), name="client of events")
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except TimeoutError:
            log.info("a client took none of its events for %.0f s and is cut off", WRITE_S)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait([sending, leaving])
            self._on_end()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._chunks) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                async with asyncio.timeout(WRITE_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async with asyncio.timeout(WRITE_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except (ClientDisconnect, Refusal):  # Refusal: it sends a body without end
        return
