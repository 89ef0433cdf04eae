"""Bodies of requests are bounded in bytes and time wherever they are read, also by the framework for its parameters."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamflow.web.limits import BODY_S
from streamflow.web.problems import Refusal


class BoundedBodies:
    """ASGI middleware: whoever reads too large a body gets a Refusal 413, too slow a one 408."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; other connections pass as they are."""
        bounded = _Body(scope, receive, self._max_bytes).receive if scope["type"] == "http" else receive
        await self._app(scope, bounded, send)


class _Body:
    """The body of one request as it arrives. What comes behind it, such as the client going, may take any time."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        self._scope, self._receive, self._max_bytes = scope, receive, max_bytes
        self._size_bytes, self._until_s, self._is_whole = 0, 0.0, False

    async def receive(self) -> Message:
        """The next message. Raises Refusal."""
        if self._is_whole:
            return await self._receive()
        if not self._until_s:
            self._until_s = asyncio.get_running_loop().time() + BODY_S
            length = Headers(scope=self._scope).get("content-length", "0")
            self._check(int(length) if length.isdecimal() and len(length) <= 18 else self._max_bytes + 1)
        try:
            async with asyncio.timeout_at(self._until_s):
                message = await self._receive()
        except TimeoutError as error:
            raise Refusal(408, "slow", f"the body did not arrive within {BODY_S:.0f} s") from error
        self._size_bytes += len(message.get("body", b""))
        self._check(self._size_bytes)
        self._is_whole = not message.get("more_body", False)
        return message

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise Refusal(413, "too_large", f"a body may have {self._max_bytes} bytes: send it in parts")
