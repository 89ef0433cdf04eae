"""A store that keeps what the last checkpoints changed in memory and writes it to the disk in larger batches.

A row of an open window changes at nearly every checkpoint, ten times a second, and a RocksDB write costs 0.8 to 1.3 µs
per row. Held back for a second, the ten writes become one. The disk is then further behind the changelog, never ahead,
and recovery replays the difference (at most `interval_ms` of work), so no guarantee changes.

    write(checkpoint n)   ──► recent rows (dictionary per table)            reads: recent, then disk
    every interval_ms,
    or at max_rows        ──► one atomic batch of rows and the newest meta ──► disk

Memory: at most `max_rows` recent rows plus one checkpoint, and a list of them when they are scanned.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from heapq import merge

from streamflow.state.store import Store, StoreMeta, TableChanges

INTERVAL_MS = 1_000
MAX_ROWS = 100_000


class WriteBehindStore:
    """Wraps a store. `now_ms` is a monotonic clock in ms."""

    def __init__(
        self, disk: Store, now_ms: Callable[[], float], interval_ms: int = INTERVAL_MS, max_rows: int = MAX_ROWS
    ) -> None:
        self._disk = disk
        self._now_ms = now_ms
        self._interval_ms = interval_ms
        self._max_rows = max_rows
        self._recent: dict[str, dict[bytes, bytes | None]] = {}
        # By key, made by the first scan behind a write: who reads a table window by window scans it a thousand times.
        self._sorted: dict[str, list[tuple[bytes, bytes | None]]] = {}
        self._expired: dict[str, bytes] = {}
        self._meta: StoreMeta | None = None
        self._written_at = now_ms()

    def get(self, table: str, key: bytes) -> bytes | None:
        """The committed value of a key."""
        recent = self._recent.get(table)
        if recent is not None and key in recent:
            return recent[key]
        expired = self._expired.get(table)
        if expired is not None and key < expired:
            return None
        return self._disk.get(table, key)

    def scan(self, table: str, lower: bytes = b"", upper: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs with lower <= key < upper, in byte order, as they are at the call."""
        expired = self._expired.get(table)
        if expired is not None and lower < expired:
            lower = expired
        fresh = self._sorted.get(table)
        if fresh is None:
            fresh = self._sorted[table] = sorted(self._recent.get(table, {}).items())
        first = bisect_left(fresh, (lower,))
        last = len(fresh) if upper is None else bisect_left(fresh, (upper,))
        stored = self._disk.scan(table, lower, upper)
        return _newest((fresh[place] for place in range(first, last)), stored) if first < last else stored

    def write(self, tables: list[TableChanges], meta: StoreMeta) -> None:
        """Take a checkpoint; goes to the disk when enough time or rows have come together."""
        for each in tables:
            self._sorted.pop(each.table, None)
            recent = self._recent.setdefault(each.table, {})
            recent.update(each.changes)
            if each.expire_below is not None:
                self._expire(each.table, recent, each.expire_below)
        self._meta = meta
        if self._now_ms() - self._written_at >= self._interval_ms or self.row_count >= self._max_rows:
            self.flush()

    def _expire(self, table: str, recent: dict[bytes, bytes | None], below: bytes) -> None:
        self._expired[table] = max(below, self._expired.get(table, b""))
        for key in [key for key in recent if key < below]:
            del recent[key]

    def flush(self) -> None:
        """Write everything held back to the disk, in one atomic batch."""
        if self._meta is None:
            return
        names = self._recent.keys() | self._expired.keys()
        # In key order: RocksDB's memtable takes a run of ascending keys faster than random ones.
        batch = [TableChanges(n, sorted(self._recent.get(n, {}).items()), self._expired.get(n)) for n in sorted(names)]
        self._disk.write(batch, self._meta)
        self._recent.clear()
        self._sorted.clear()
        self._expired.clear()
        self._meta = None
        self._written_at = self._now_ms()

    def read_meta(self) -> StoreMeta | None:
        """Meta of the last write, on disk or held back."""
        return self._meta if self._meta is not None else self._disk.read_meta()

    @property
    def row_count(self) -> int:
        """Rows held back."""
        return sum(len(rows) for rows in self._recent.values())

    def rows_max(self) -> int:
        """As the disk says, and what is held back."""
        return self._disk.rows_max() + self.row_count

    def size_bytes(self) -> int:
        """Bytes on disk; what is held back is not counted, it is mostly the same rows."""
        return self._disk.size_bytes()

    def abandon(self) -> None:
        """Close without writing what is held back; the changelog has it."""
        self._recent.clear()
        self._sorted.clear()
        self._expired.clear()
        self._meta = None
        self._disk.close()

    def close(self) -> None:
        """Write what is held back and close; idempotent."""
        self.flush()
        self._disk.close()


def _newest(
    fresh: Iterable[tuple[bytes, bytes | None]], stored: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """Merge two runs by key; of equal keys the fresh one counts, and None hides the stored one."""
    # Equal keys come out fresh first, because its rank is lower.
    ranked = merge(((key, 0, value) for key, value in fresh), ((key, 1, value) for key, value in stored), key=_by_key)
    last: bytes | None = None
    for key, _, value in ranked:
        if key == last:
            continue
        last = key
        if value is not None:
            yield key, value


def _by_key(row: tuple[bytes, int, bytes | None]) -> tuple[bytes, int]:
    return row[0], row[1]
