"""Private hook into aiokafka's connections: closing one does not wait for the broker's last word.

Over TLS a closed connection waits for the other side's close_notify, 30 s by default (asyncio's SSL_SHUTDOWN_TIMEOUT),
and every `stop` of a client waits for its connections. A broker that had an answer under way does not always say it,
so that a restore over TLS, or a stop, took 30 s now and then. Frames of Kafka have their lengths, so nothing can be cut
off unnoticed without it; aiokafka has no setting for it.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import asyncio
from typing import Any

from aiokafka.conn import AIOKafkaConnection

#: How long the broker has for its last word, seconds.
WAIT_S = 0.2

_original = AIOKafkaConnection.close


def _close(self: Any, reason: Any = None, exc: Any = None) -> "asyncio.Future[None]":
    writer = self._writer
    closed: asyncio.Future[None] = _original(self, reason, exc)
    if writer is not None and self._security_protocol.endswith("SSL"):
        self._loop.call_later(WAIT_S, _abort, closed, writer.transport)
    return closed


def _abort(closed: "asyncio.Future[None]", transport: asyncio.WriteTransport) -> None:
    if not closed.done():
        transport.abort()


def install() -> None:
    """Bound the closing of connections over TLS. Idempotent."""
    AIOKafkaConnection.close = _close
