"""Clients of a live table that read and forget: half over server-sent events, half over WebSockets.

    python -m bench.live_readers PORT TOPOLOGY COUNT key|two|all

Each follows a key, or the whole table; `two`: two of them do the latter. Says `connected` when every one has had its
snapshot. Plain sockets, so that they cost little beside what they measure.
"""

import asyncio
import base64
import json
import os
import struct
import sys


class _Reader(asyncio.Protocol):
    """One connection: what to send at the start, and when it has had something."""

    def __init__(self, first: bytes, second: bytes, had: asyncio.Event) -> None:
        self._first, self._second, self._had = first, second, had
        self._transport: asyncio.Transport | None = None
        self._is_socket, self._rest_bytes = bool(second), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._first)

    def data_received(self, data: bytes) -> None:
        if self._second and self._transport is not None:
            self._transport.write(self._second)
            self._second = b""
            return
        if b"complete" in data:
            self._had.set()
        if self._is_socket and self._transport is not None:
            for payload in self._pings(data):
                self._transport.write(b"\x8a" + bytes([0x80 | len(payload)]) + bytes(4) + payload)

    def _pings(self, data: bytes) -> list[bytes]:
        """Payloads of pings in what came; who does not answer them is cut off."""
        found, at = [], self._rest_bytes
        while at < len(data):
            if len(data) < at + 10 and len(data) < at + 2 + data[at + 1 : at + 2][-1]:
                break  # a head that is cut in two: so rare that its connection may go
            size, head = data[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + head], "big")
            if data[at] & 0x0F == 9:
                found.append(data[at + head : at + head + size])
            at += head + size
        self._rest_bytes = max(0, at - len(data))
        return found

    def connection_lost(self, exc: Exception | None) -> None:
        print("lost", exc, flush=True)


def _masked(text: bytes) -> bytes:
    """A WebSocket frame of a client; the mask is zero."""
    return b"\x81" + struct.pack(">BHI", 0x80 | 126, len(text), 0) + text


def _requests(topology: str, number: int, how: str) -> tuple[bytes, bytes]:
    key = "" if how == "all" or (how == "two" and number < 2) else f"s{number}"
    if number % 2:
        asked = {"type": "subscribe", "id": "a", "table": "newest"} | ({"key": key} if key else {})
        nonce = base64.b64encode(os.urandom(16)).decode()
        upgrade = (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}"
        )
        return f"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n".encode(), _masked(
            json.dumps(asked).encode()
        )
    path = f"/v1/topologies/{topology}/tables/newest/live" + (f"?key={key}" if key else "")
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), b""


async def main(port: int, topology: str, count: int, how: str) -> None:
    """Connect, and read until the process is ended."""
    loop, had = asyncio.get_running_loop(), []
    for number in range(count):
        first, second = _requests(topology, number, how)
        event = asyncio.Event()
        had.append(event)
        await loop.create_connection(lambda f=first, s=second, e=event: _Reader(f, s, e), "127.0.0.1", port)  # type: ignore[misc]
    for event in had:
        await event.wait()
    print("connected", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
