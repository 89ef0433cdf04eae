"""A store in memory: for the test driver and the simulator. Same contract as RocksDB, no files."""

from bisect import bisect_left
from collections.abc import Iterator

from streamflow.state.store import StoreMeta, TableChanges


class MemoryStore:
    """Sorted keys per table. Not bounded: it holds what the test put into it."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, bytes]] = {}
        self._sorted: dict[str, list[bytes] | None] = {}
        self._meta: StoreMeta | None = None

    def get(self, table: str, key: bytes) -> bytes | None:
        """The committed value of a key."""
        return self._rows.get(table, {}).get(key)

    def scan(self, table: str, lower: bytes = b"", upper: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs with lower <= key < upper, in byte order, as they are at the call."""
        rows = self._rows.get(table, {})
        keys = self._sorted.get(table)
        if keys is None:
            keys = self._sorted[table] = sorted(rows)
        start = bisect_left(keys, lower)
        stop = len(keys) if upper is None else bisect_left(keys, upper)
        return iter([(key, rows[key]) for key in keys[start:stop]])

    def write(self, tables: list[TableChanges], meta: StoreMeta) -> None:
        """Apply changes and meta."""
        for each in tables:
            rows = self._rows.setdefault(each.table, {})
            self._sorted[each.table] = None
            for key, value in each.changes:
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = value
            if each.expire_below is not None:
                for key in [key for key in rows if key < each.expire_below]:
                    del rows[key]
        self._meta = meta

    def read_meta(self) -> StoreMeta | None:
        """Meta of the last write, None for a new store."""
        return self._meta

    def rows_max(self) -> int:
        """Rows of all tables."""
        return sum(len(rows) for rows in self._rows.values())

    def size_bytes(self) -> int:
        """Bytes of keys and values."""
        return sum(len(key) + len(value) for rows in self._rows.values() for key, value in rows.items())

    def close(self) -> None:
        """Nothing to release; the rows stay, as files would."""
