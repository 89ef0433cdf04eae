"""The RocksDB store: one database per task, with cache and write buffers shared by all tasks of the process.

    key in RocksDB      table name, 0x00, store key        value    as given
    meta                0x00 "meta"                        JSON of StoreMeta

One write per checkpoint goes through the write-ahead log without fsync: after a crash of the process everything is
there (the operating system has it), after a power cut the store may be some checkpoints behind, and recovery replays
them from the changelog. It is never ahead of Kafka, because it is written after the commit.

Memory of a process: `cache_bytes` for blocks, indexes and filters of all tasks together, and `write_buffer_bytes` for
all their memtables.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
)

from streamflow.errors import StateInUse, StateMismatch, StoreFailed
from streamflow.state.store import StoreMeta, TableChanges

_META = b"\0meta"
FORMAT = 1
_KEPT_LOG_FILES = 2
#: In RocksDB's text of table properties (table/table_properties.cc, ToString).
_ENTRIES = re.compile(r"# entries=(\d+)")
#: RocksDB's words (env/fs_posix.cc, LockFile) for a lock of another process, and of this one.
_LOCKED = ("While lock file", "lock hold by current process")


@dataclass(frozen=True, slots=True)
class RocksMemory:
    """Bounds of RocksDB's memory in a process. Make one and open every store with it."""

    cache: Cache
    write_buffers: WriteBufferManager
    write_buffer_bytes: int

    @classmethod
    def of(cls, cache_bytes: int = 128 << 20, write_buffer_bytes: int = 128 << 20) -> "RocksMemory":
        """Bounds in bytes for all stores of the process together."""
        return cls(Cache(cache_bytes), WriteBufferManager(write_buffer_bytes, False), write_buffer_bytes)


class RocksStore:
    """State of one task on disk. Opening takes RocksDB's lock on the folder."""

    def __init__(self, path: Path, database: Rdict) -> None:
        self.path = path
        self._db: Rdict | None = database

    @classmethod
    def open(cls, path: Path, memory: RocksMemory) -> "RocksStore":
        """Open or create the store in `path`. Raises StateInUse when it is locked, StoreFailed when damaged."""
        path.mkdir(parents=True, exist_ok=True)
        try:
            return cls(path, Rdict(str(path), _options(memory)))
        except Exception as error:  # rocksdict raises plain Exception
            if any(sign in str(error) for sign in _LOCKED):
                raise StateInUse(f"the store in {path} is open elsewhere, end who has it: {error}") from error
            raise StoreFailed(f"the store in {path} cannot be opened: {error}") from error

    @staticmethod
    def destroy(path: Path) -> None:
        """Delete a closed store, so that it is rebuilt from the changelog."""
        if path.exists():
            Rdict.destroy(str(path))

    @property
    def _open_db(self) -> Rdict:
        if self._db is None:
            raise StoreFailed(f"the store in {self.path} is closed")
        return self._db

    def get(self, table: str, key: bytes) -> bytes | None:
        """The committed value of a key."""
        value: bytes | None = self._open_db.get(_prefix(table) + key)
        return value

    def scan(self, table: str, lower: bytes = b"", upper: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Committed pairs with lower <= key < upper, in byte order, of the store as it is at the call."""
        prefix = _prefix(table)
        end = prefix[:-1] + b"\1" if upper is None else prefix + upper
        # rocksdict encodes a ReadOptions bound by type even in raw mode, so the upper bound is checked here.
        return _rows_until(self._open_db.items(from_key=prefix + lower), end, len(prefix))

    def write(self, tables: list[TableChanges], meta: StoreMeta) -> None:
        """Apply changes and meta in one atomic batch. Raises StoreFailed (disk full, damaged)."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for each in tables:
            prefix = _prefix(each.table)
            for key, value in each.changes:
                if value is None:
                    delete(prefix + key)
                else:
                    put(prefix + key, value)
            if each.expire_below is not None:
                batch.delete_range(prefix, prefix + each.expire_below)
        put(_META, msgspec.json.encode(meta))
        try:
            self._open_db.write(batch)
        except StoreFailed:
            raise
        except Exception as error:
            raise StoreFailed(f"the store in {self.path} cannot be written: {error}") from error

    def read_meta(self) -> StoreMeta | None:
        """Meta of the last write, None for a new store. Raises StateMismatch for another format or unreadable meta."""
        raw: bytes | None = self._open_db.get(_META)
        if raw is None:
            return None
        try:
            meta = msgspec.json.decode(raw, type=StoreMeta)
        except msgspec.MsgspecError as error:
            raise StateMismatch(f"meta of the store in {self.path} is unreadable: {error}") from error
        if meta.format != FORMAT:
            raise StateMismatch(f"the store in {self.path} has format {meta.format}, this release reads {FORMAT}")
        return meta

    def rows_max(self) -> int:
        """Entries of all files and memtables, deletions and rewritten rows included."""
        names = ("rocksdb.num-entries-active-mem-table", "rocksdb.num-entries-imm-mem-tables")
        found = _ENTRIES.search(self._open_db.property_value("rocksdb.aggregated-table-properties") or "")
        in_memory = sum(self._open_db.property_int_value(name) or 0 for name in names)
        return in_memory + (int(found[1]) if found else 0)

    def size_bytes(self) -> int:
        """Live bytes in tables on disk and in memtables, as RocksDB estimates them."""
        names = ("rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables")
        return sum(self._open_db.property_int_value(name) or 0 for name in names)

    def close(self) -> None:
        """Release files and the lock; idempotent."""
        if self._db is not None:
            database, self._db = self._db, None
            database.close()


def _rows_until(items: Any, end: bytes, skip: int) -> Iterator[tuple[bytes, bytes]]:
    for key, value in items:
        if key >= end:
            return
        yield key[skip:], value


def _prefix(table: str) -> bytes:
    return table.encode() + b"\0"


def _options(memory: RocksMemory) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_bloom_filter(10, False)
    # In parts: the filter of a file of 2,000,000 keys, more than a shard of the cache takes, was read at each get.
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_block_size(16 << 10)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_manager(memory.write_buffers)
    options.set_write_buffer_size(32 << 20)
    options.set_max_total_wal_size(64 << 20)  # bounds what opening after a crash has to read
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(_KEPT_LOG_FILES)
    return options
