"""The HTTP protocol of a worker against clients that speak it oddly: what is read of them, and when they are let go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamflow.web.http_protocol import HEAD_MAX_BYTES, PIPELINED_MAX
from tests.web.workers import EVENTS, TABLE, StoredWorker, workers

_EVENT = b'{"time": 1, "shop": "a", "amount": 1}'
_HEAD = b"POST " + EVENTS.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
_PUBLISH = _HEAD + b"Content-Length: %d\r\n\r\n" % len(_EVENT) + _EVENT
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(_EVENT) + _EVENT + b"\r\n0\r\n"
_LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
#: Every client in Java asks so.
_H2C = _PUBLISH.replace(b"Host", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nHost")

_SOCKET = (
    b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@asynccontextmanager
async def _connected(worker: StoredWorker) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(worker.url.rpartition(":")[2]))
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("said", "statuses", "count"),
    [
        ([_H2C[:-5], _H2C[-5:] + _H2C, _PUBLISH + _LAST], [200, 200, 200, 200], 3),
        ([_CHUNKED + b"Content-Encoding: gzip\r\nIdempotency-Key: k\r\n\r\n" + _LAST], [200, 200], 1),
        ([_PUBLISH * 2 + b"what is this?\r\n\r\n"], [200, 200], 2),
        ([_PUBLISH + _PUBLISH.replace(b"Content", b"Transfer-Encoding: chunked\r\nContent")], [200], 1),
        ([_LAST.replace(b"Connection: close", b"X: y") * 300], [200] * (1 + PIPELINED_MAX), 0),
        ([b"what is this?\r\n\r\n"], [400], 0),
        ([_SOCKET.replace(b"GET", b"POST")], [400], 0),
        ([_SOCKET.replace(b"Host", b"X: y\r\n" * 200 + b"Host")], [400], 0),
        ([_SOCKET.replace(b"Key", b"Kay")], [400], 0),
    ],
    ids=["h2c", "trailers", "junk behind", "smuggled", "pipelined", "junk", "posted", "many headers", "no key"],
)
def test_each_request_is_answered_as_what_it_is(said: list[bytes], statuses: list[int], count: int) -> None:
    async def main() -> None:
        async with workers(1) as (one,), _connected(one) as (reader, writer):
            for part in said:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.05)
            lines = (await reader.read()).replace(b"HTTP/1.1", b"\nHTTP/1.1").splitlines()
            assert [int(line.split()[1]) for line in lines if line.startswith(b"HTTP/1.1 ")] == statuses
            assert len(one.published) == count

    asyncio.run(main())


def test_trailers_without_end_are_cut_off() -> None:
    async def main() -> None:
        async with workers(1) as (one,), _connected(one) as (_, writer):
            with pytest.raises(OSError):  # noqa: PT012
                writer.write(_CHUNKED)
                for _ in range(16 * HEAD_MAX_BYTES // 1_000):
                    writer.write(b"X-Filler: " + b"x" * 1_000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
                raise AssertionError("it took a megabyte of trailers")

    asyncio.run(main())


def test_a_stream_ends_with_its_client_also_when_more_was_asked_for_behind_it() -> None:
    stream = b"GET " + TABLE.encode() + b"/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def main() -> None:
        async with workers(1) as (one,):
            assert one.server._server is not None
            tasks = one.server._server.server_state.tasks
            async with _connected(one) as (reader, writer):
                writer.write(stream + _LAST)
                assert b" 200 " in await reader.readline()
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_client_that_says_nothing_is_let_go() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            assert one.server._server is not None
            one.server._server.config.timeout_keep_alive = 1
            for said in (b"", _HEAD):
                async with _connected(one) as (reader, writer):
                    writer.write(said)
                    assert await reader.read() == b""

    asyncio.run(main())
