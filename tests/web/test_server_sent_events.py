"""Events over a real server: written and read back, ended by either side, and never held for a client that stalls."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Response

from streamflow.web import server_sent_events
from streamflow.web.app import HttpServer
from streamflow.web.headers import AnswerHeaders
from streamflow.web.server_sent_events import HEARTBEAT, EventStream, encode_event, read_events

DEADLINE_S = 60


@asynccontextmanager
async def served(source: Callable[[], AsyncIterator[bytes]]) -> AsyncIterator[HttpServer]:
    """A server whose /events gives what a source gives."""
    app, server = FastAPI(), HttpServer("127.0.0.1", 0)

    @app.get("/events")
    async def events() -> Response:
        return EventStream(source())

    app.add_middleware(AnswerHeaders)
    server.serve(app)
    try:
        yield server
    finally:
        await server.stop()


def test_what_is_written_is_read_back() -> None:
    ended: list[bool] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield encode_event(b'{"a":1}', event="delta", id="t1", retry_ms=500)
            yield HEARTBEAT + encode_event(b"one\ntwo")
        finally:
            ended.append(True)

    async def main() -> None:
        async with (
            served(source) as server,
            httpx.AsyncClient() as client,
            client.stream("GET", f"{server.url}/events") as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-request-id"]
            found = [(each.event, each.id, each.data) async for each in read_events(answer.aiter_lines())]
        assert found == [("delta", "t1", '{"a":1}'), ("message", "", "one\ntwo")]
        assert ended == [True]

    asyncio.run(main())


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_a_line_break_cannot_forge_an_event(bad: str) -> None:
    with pytest.raises(ValueError):
        encode_event(b"{}", id=bad)
    with pytest.raises(ValueError):
        encode_event(b"{}", event=bad)


def test_the_source_ends_when_the_client_goes_also_while_it_is_silent() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            try:
                yield encode_event(b"1")
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with served(source) as server, httpx.AsyncClient() as client:
            async with client.stream("GET", f"{server.url}/events") as answer:
                await anext(answer.aiter_lines())
                assert not ended.is_set()
            await asyncio.wait_for(ended.wait(), DEADLINE_S)

    asyncio.run(main())


def test_a_client_that_stalls_holds_back_its_source_and_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent_events, "WRITE_S", 0.5)
    sent = 0

    async def main() -> None:
        ended = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            nonlocal sent
            try:
                while True:
                    yield encode_event(b"x" * 65_536)
                    sent += 1
            finally:
                ended.set()

        async with served(source) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
                client.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
                client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
                await asyncio.wait_for(ended.wait(), DEADLINE_S)

    asyncio.run(main())
    assert 0 < sent < 1_000, "what the system buffers, a few MiB, and no more"
