"""Every answer has a request id, also that of a fault, and no browser guesses it to be something else.

Plain ASGI: each part of an answer goes straight to the server, so that a stream feels the client's pace.
"""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamflow.web.limits import HEADERS_MAX_BYTES
from streamflow.web.problems import answer_fault, answer_large_headers

#: What a client may call its request; anything else could forge lines of a log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class AnswerHeaders:
    """ASGI middleware around the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; other connections pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Request-ID"] = request_id
            await send(message)

        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MAX_BYTES:
            await answer_large_headers(HEADERS_MAX_BYTES)(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # the outermost place where the request id is known
            answer = answer_fault(request_id, error)
            if not started:
                await answer(scope, receive, send_with_headers)
