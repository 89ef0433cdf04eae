"""Digests of records, and the chain over them.

    digest(record) = SHA-256 of timestamp, key, value and headers, each with its length before it
    chain          = SHA-256 of (chain before, offset, digest); 32 zero bytes before the first record

The offset is in the chain and not in the digest, so a record that stands in another place is recognised.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

#: The chain before the first record of a partition.
START = bytes(32)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of the bus as the broker keeps it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def digest_of(record: LogRecord) -> bytes:
    """32 bytes."""
    made = sha256(struct.pack(">qi", record.timestamp_ms, len(record.headers)))
    parts = [record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode(), value]
    for part in parts:
        made.update(struct.pack(">q", -1 if part is None else len(part)))
        made.update(part or b"")
    return made.digest()


def extend(chain: bytes, entries: Iterable[tuple[int, bytes]]) -> bytes:
    """The chain after (offset, digest) of further records."""
    for offset, digest in entries:
        chain = sha256(chain + struct.pack(">q", offset) + digest).digest()
    return chain
