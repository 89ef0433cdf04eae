"""HTTP/1.1 by httptools: 0.2 ms less per request than a parser in Python takes. What it does not bound, this does.

Whoever asks for another protocol than WebSocket (h2c: clients in Java do with every request) is served by h11:
httptools takes such a request's body for words of that protocol.
"""

import logging
from typing import Any

import httptools
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streamflow.web.limits import HEADERS_MAX_BYTES

log = logging.getLogger(__name__)

#: Request line and headers of a request, beyond which its connection is cut; up to there `headers.py` answers 431. As
#: much for trailers.
HEAD_MAX_BYTES = 4 * HEADERS_MAX_BYTES
#: Requests that may wait on a connection for the answer to an earlier one; they are answered, and it is closed.
PIPELINED_MAX = 100


class BoundedHttp(HttpToolsProtocol):
    """Cuts off whose headers do not end. Memory per connection: HEAD_MAX_BYTES and two reads of the socket."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_body = self._moved = False
        self._head_bytes = 0
        #: The request that is answered; `cycle` is the newest one.
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client that says nothing is not waited for longer than one between requests."""
        super().connection_made(transport)
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; also from a request that others wait behind."""
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._moved = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._go_on_with_h11(data[upgrade.args[0] :])
            return
        self._head_bytes = 0 if self._moved else self._head_bytes + len(data)
        if self._head_bytes > HEAD_MAX_BYTES:
            log.info("a client whose headers do not end is cut off")
            self.transport.abort()
        elif self._is_idle:
            self._await_more()

    @property
    def _is_idle(self) -> bool:
        return self._running is None or self._running.response_complete

    def _await_more(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _go_on_with_h11(self, behind: bytes) -> None:
        """Hand the connection over. behind: what followed the head."""
        self.connections.discard(self)
        version = self.scope["http_version"].encode()
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        head += [part for name, value in self.headers for part in (name, b": ", value, b"\r\n")]
        protocol = H11Protocol(self.config, self.server_state, self.app_state, self.loop)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(b"".join([*head, b"\r\n", behind]))

    def send_400_response(self, msg: str) -> None:
        """Nothing can be read any more; what was read whole is answered first."""
        if self._is_idle or self.cycle.more_body:
            log.info("a client whose requests cannot be read is cut off")
            super().send_400_response(msg)
        else:
            self.cycle.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are none, whatever they are called."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._in_body = self._moved = True
        is_upgrade = self.parser.should_upgrade()
        if not self._is_idle and (is_upgrade or len(self.pipeline) >= PIPELINED_MAX):
            raise ValueError("too much is asked for at once")  # httptools makes it an HttpParserError
        if not is_upgrade or self._should_upgrade():
            super().on_headers_complete()
        elif (version := self.parser.get_http_version()) != "1.1":
            self.scope["http_version"] = version

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head follows."""
        self._in_body, self._moved = False, True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)
