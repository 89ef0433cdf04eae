"""Results of calls on disk, so that a worker that restarts need not ask again: a RocksDB per node, first in first out.

    key     SHA-256 of the node's identity and the input         value   when it was kept (8 bytes, ms), result

Compaction is RocksDB's FIFO: whole files go, the oldest first, when all together pass the bound, and nothing is
rewritten. So the disk holds at most `max_bytes` and three write buffers (a sixteenth of it each, 64 KiB to 8 MiB).
What is there outlives a killed process, not a power cut: it is a cache.
"""

from hashlib import sha256
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, FifoCompactOptions, Options, Rdict

from streamflow.errors import StoreFailed

#: Memory for blocks and filters of one node's results.
_CACHE_BYTES = 8 << 20
_TIME_BYTES = 8
_KEPT_LOG_FILES = 2


class KeptResults:
    """The results of one node in one worker."""

    def __init__(self, path: Path, max_bytes: int, identity: bytes) -> None:
        self._path, self._identity = path, identity
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(path), _options(max_bytes))
        except Exception as error:  # rocksdict raises plain Exception
            raise StoreFailed(f"the kept results in {path} cannot be opened: {error}") from error

    @classmethod
    def discard(cls, path: Path) -> None:
        """Delete results that cannot be read. Raises StoreFailed for those that are open elsewhere."""
        try:
            if path.exists():
                Rdict.destroy(str(path))
        except Exception as error:
            raise StoreFailed(f"the kept results in {path} cannot be deleted: {error}") from error

    def get(self, key: bytes) -> tuple[int, bytes] | None:
        """(when it was kept in ms of the wall clock, the result), None when there is none. Raises StoreFailed."""
        try:
            found: bytes | None = self._db.get(self._key(key))
        except Exception as error:
            raise StoreFailed(f"the kept results in {self._path} cannot be read: {error}") from error
        if found is None:
            return None
        return int.from_bytes(found[:_TIME_BYTES]), found[_TIME_BYTES:]

    def put(self, key: bytes, kept_ms: int, value: bytes) -> None:
        """Keep a result. Raises StoreFailed (disk full, damaged)."""
        try:
            self._db.put(self._key(key), kept_ms.to_bytes(_TIME_BYTES) + value)
        except Exception as error:
            raise StoreFailed(f"the kept results in {self._path} cannot be written: {error}") from error

    def _key(self, key: bytes) -> bytes:
        return sha256(self._identity + key).digest()

    def view(self) -> dict[str, int]:
        """Entries (those that are too old included) and bytes, as RocksDB estimates them."""
        number = self._db.property_int_value
        sizes = ("rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables")
        return {
            "entries": number("rocksdb.estimate-num-keys") or 0,
            "bytes": sum(number(name) or 0 for name in sizes),
        }

    def close(self) -> None:
        """Release files and the lock."""
        self._db.close()


def _options(max_bytes: int) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(_CACHE_BYTES))
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_bloom_filter(10, False)
    fifo = FifoCompactOptions()
    fifo.max_table_files_size = max_bytes
    buffer_bytes = max(64 << 10, min(8 << 20, max_bytes // 16))
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compaction_style(DBCompactionStyle.fifo())
    options.set_fifo_compaction_options(fifo)
    options.set_write_buffer_size(buffer_bytes)
    options.set_max_write_buffer_number(2)
    options.set_max_total_wal_size(2 * buffer_bytes)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(_KEPT_LOG_FILES)
    return options
