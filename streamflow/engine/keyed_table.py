"""Counters of one keyed table in one task: a write-back cache over the store."""

from streamflow.state.keys import checked_key_bytes, key_bytes
from streamflow.state.store import Store, TableChanges

#: Counters of one task and table kept in memory between checkpoints.
MAX_LIVE = 1_000_000


class KeyedTable:
    """Integer per key; the key None (no key declared) is one counter per partition, stored under the empty key."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store
        self._live: dict[str | int | None, int] = {}
        self._dirty: dict[str | int | None, int] = {}

    def next(self, key: str | int | None) -> int:
        """Count one more row of `key` and return the new count (1 for the first)."""
        count = self._dirty.get(key)
        if count is None:
            count = self._live.get(key)
            if count is None:
                raw = self._store.get(self.name, b"" if key is None else checked_key_bytes(key))
                count = int(raw) if raw is not None else 0
        self._dirty[key] = count + 1
        return count + 1

    def take_changes(self) -> TableChanges | None:
        """Every counter changed since the last call."""
        if not self._dirty:
            return None
        changes: list[tuple[bytes, bytes | None]] = [
            (_stored(key), b"%d" % count) for key, count in self._dirty.items()
        ]
        self._live.update(self._dirty)
        self._dirty = {}
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Bound memory. Call only when everything taken is in the store."""
        if len(self._live) > MAX_LIVE:
            self._live.clear()


def _stored(key: str | int | None) -> bytes:
    return b"" if key is None else key_bytes(key)
