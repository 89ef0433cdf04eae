"""Private hook into aiokafka's connections: answers are read without a pause at every step.

A connection stops its socket whenever more than twice `READER_LIMIT` waits unread, 128 KiB, and starts it again for the
next 256: in an answer with chunks of several partitions that is at every read, some 7 % of what an event costs. With
4 MiB a connection that nobody reads from holds 8 MiB; the answer at hand is held whole anyway.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

from aiokafka import conn

_LIMIT_BYTES = 4 << 20


def install() -> None:
    """For all connections of this process from now on. Idempotent."""
    conn.READER_LIMIT = _LIMIT_BYTES
