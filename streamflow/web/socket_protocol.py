"""WebSockets as uvicorn speaks them, but for handshakes that cannot be read (no GET, a body, too many headers).

Those it leaves without an answer, for ever, and a server that is stopped meanwhile fails at them.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_BAD = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class AnsweredHandshakes(WebSocketsSansIOProtocol):
    """Refuses them with 400."""

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.close_sent:
            self.close_sent = True
            self.transport.write(_BAD)
            self.transport.close()
