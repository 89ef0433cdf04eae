"""A real HTTP server that misbehaves on demand, in a thread of its own."""

import asyncio
import gzip
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web


class Server:
    """`requests` by path; `keys` are the idempotency keys seen, `largest` the requests that were open at once.

    /ok/{id} answers {"id", "double", "at": {"place"}}; /fail/{status}/{times}/{id} fails so many times per id first;
    switch `down` on to have everything answer 503; `down_between`: numbers of requests that do.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.bodies: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.down = False
        self.slow_s = 0.0
        self.raw: list[str] = []
        self.down_between = range(0)
        self.open = self.largest = 0
        self.url = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        self.raw.append(request.raw_path)
        self.headers.append(dict(request.headers))
        if "Idempotency-Key" in request.headers:
            self.keys[request.headers["Idempotency-Key"]] += 1
        if request.can_read_body:
            self.bodies.append(await request.json())
        self.open += 1
        self.largest = max(self.largest, self.open)
        try:
            if self.slow_s:
                await asyncio.sleep(self.slow_s)
            down = self.down or len(self.raw) in self.down_between
            return web.Response(status=503, text="down") if down else await self._by_path(request)
        finally:
            self.open -= 1

    async def _by_path(self, request: web.Request) -> web.StreamResponse:
        what, *rest = request.path.strip("/").split("/")
        match what:
            case "hang":
                await asyncio.sleep(3_600)
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case "fail" if self.requests[request.path] <= int(rest[1]):
                headers = {"Retry-After": rest[3]} if len(rest) > 3 else {}
                return web.Response(status=int(rest[0]), text="not now", headers=headers)
            case "status":
                return web.Response(status=int(rest[0]), text=f"{request.raw_path} {'x' * 1_000}")
            case "redirect":
                return web.Response(status=302, headers={"Location": f"{self.url}/ok/1"})
            case "huge":
                return web.Response(body=b'{"id": 1, "double": 2, "pad": "' + b"x" * 200_000 + b'"}')
            case "bomb":
                packed = gzip.compress(b'{"id": 1, "pad": "' + b"x" * 50_000_000 + b'"}')
                return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
            case "drip":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(1_000):
                    await response.write(b" ")
                    await asyncio.sleep(0.02)
                return response
            case "text":
                return web.Response(text="hello")
        number = int(rest[-1]) if rest and rest[-1].isdigit() else 0
        return web.json_response({"id": number, "double": number * 2, "at": {"place": f"p{number}"}})


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The server on a free port of the loopback address."""
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server._answer)
    with in_a_thread(app, tls=tls) as server.url:
        yield server


@contextmanager
def in_a_thread(
    app: web.Application, *, tls: ssl.SSLContext | None = None, handler_cancellation: bool = False
) -> Iterator[str]:
    """URL of an application on a free port of the loopback address."""
    loop, started, url = asyncio.new_event_loop(), threading.Event(), ""

    async def start() -> web.AppRunner:
        nonlocal url
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=handler_cancellation)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096, ssl_context=tls).start()
        url = "http{}://{}:{}".format("s" * (tls is not None), *runner.addresses[0][:2])
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
