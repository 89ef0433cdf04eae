"""HTTP/1.1 for benchmarks, over plain sockets: a client that takes little of the machine that it measures."""

import asyncio
from collections.abc import AsyncIterator


class Connection:
    """One connection that is kept. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        reader, writer = await self._connected()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, headers = await _head(reader)
        return status, await reader.readexactly(int(headers["content-length"]))

    async def lines(self, path: str) -> AsyncIterator[str]:
        """Lines of an answer in chunks that does not end; a chunk ends with a line."""
        reader, writer = await self._connected()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, _ = await _head(reader)
        assert status == 200, status
        while size := int(await reader.readline(), 16):
            for line in (await reader.readexactly(size)).decode().split("\n")[:-1]:
                yield line
            await reader.readexactly(2)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        return self._reader, self._writer

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = (line.partition(":") for line in rest)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in headers}
