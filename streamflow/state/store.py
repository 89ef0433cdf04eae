"""The port to a task's store: ordered bytes, one atomic write per checkpoint.

Adapters: `rocksdb.py` (production) and `memory.py` (driver and simulation). The store is always the fold of a prefix of
the committed changelog: it is written only after the Kafka commit, in one batch with its own position.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

#: (key, value) of a table; None as value deletes the key. Keys are the store's keys, byte for byte.
Change = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class TableChanges:
    """The last value of every key of one table that this checkpoint changed.

    `expire_below` asks the store to delete every key of the table that sorts below it (retention); it only
    grows, and nothing below it is written again. The changelog drops the same rows by its own retention, so they are
    not sent.
    """

    table: str
    changes: list[Change]
    expire_below: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoreMeta:
    """How far a store is.

    format: version of the layout below it.
    layouts: per table the digest of its key and value layout; another digest is refused, never misread.
    changelog: per table the next offset of its changelog partition.
    inputs: per "topic/partition" the next offset of the inputs that the state reflects.
    progress: encoded `Progress` at that point.
    """

    format: int = 1
    layouts: Mapping[str, str] = field(default_factory=dict)
    changelog: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)
    progress: str = ""


class Store(Protocol):
    """State of one task. Not thread-safe; every call is synchronous and local."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The committed value of a key."""

    def scan(self, table: str, lower: bytes = b"", upper: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Committed (key, value) pairs with lower <= key < upper, in byte order."""

    def write(self, tables: list[TableChanges], meta: StoreMeta) -> None:
        """Apply changes and meta in one atomic batch."""

    def read_meta(self) -> StoreMeta | None:
        """Meta of the last write, None for a new store. Raises StateMismatch for another format."""

    def rows_max(self) -> int:
        """How many rows all tables may have at most: cheap, and more than they have when some were rewritten."""

    def size_bytes(self) -> int:
        """Estimate of live bytes on disk or in memory."""

    def close(self) -> None:
        """Release files and locks; idempotent."""
