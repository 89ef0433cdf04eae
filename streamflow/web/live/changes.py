"""Changes of a table as they travel: `{"partition", "id", "rows"}`.

`id` is the hex of the store key. A change replaces whatever had its id; without rows that is gone. So a change may come
twice, and the latest of an id is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from streamflow.query.reader import TableReader

_PREFIX_BYTES = 4


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a partition. `place`: partition and store key, by which a newer one replaces it. `start_ms`: of the
    window, None where windows have no fixed borders. `data`: its JSON.
    """

    place: bytes
    start_ms: int | None
    key: bytes
    data: bytes


def partition_prefix(partition: int) -> bytes:
    """What the places of a partition begin with."""
    return partition.to_bytes(_PREFIX_BYTES, "big")


def change_of(reader: TableReader, partition: int, store_key: bytes, raw: bytes | None, watermark_ms: int) -> Change:
    """The change that puts a stored value (None: nothing) in its place."""
    rows = (
        [] if raw is None else [row for row in reader.shown(store_key, raw, watermark_ms) if row["value"] is not None]
    )
    return _change(reader, store_key, {"partition": partition, "id": store_key.hex(), "rows": rows})


def change_from(reader: TableReader, body: dict[str, Any]) -> Change:
    """A change from its JSON as an object."""
    return _change(reader, bytes.fromhex(body["id"]), body)


def _change(reader: TableReader, store_key: bytes, body: dict[str, Any]) -> Change:
    start_ms, key = reader.place(store_key)
    data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
    return Change(partition_prefix(body["partition"]) + store_key, start_ms, key, data)


@dataclass(frozen=True, slots=True)
class LiveFilter:
    """Which changes a client gets: of one key, of keys that begin so, of windows that start in [from, to)."""

    key: bytes | None = None
    prefix: bytes | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return self == _ALL

    def takes(self, change: Change) -> bool:
        """Whether a client with this filter gets the change."""
        start_ms = change.start_ms
        return (
            (self.key is None or change.key == self.key)
            and (self.prefix is None or change.key.startswith(self.prefix))
            and (self.from_ms is None or (start_ms is not None and start_ms >= self.from_ms))
            and (self.to_ms is None or (start_ms is not None and start_ms < self.to_ms))
        )


_ALL = LiveFilter()


class ChangeSet:
    """Changes that go out together, and what of them a filter takes. Made once, looked into by every client."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._all = {change.place: change.data for change in changes}
        self._changes = changes
        self._size_bytes = sum(map(len, self._all.values()))
        self._by_key: dict[bytes, list[Change]] | None = None

    def taken(self, chosen: LiveFilter) -> tuple[dict[bytes, bytes], int]:
        """JSON by place, and the bytes of it all."""
        if chosen.takes_all:
            return self._all, self._size_bytes
        candidates = self._changes if chosen.key is None else self._of_key(chosen.key)
        found = {change.place: change.data for change in candidates if chosen.takes(change)}
        return found, sum(map(len, found.values()))

    def _of_key(self, key: bytes) -> list[Change]:
        if self._by_key is None:
            self._by_key = {}
            for change in self._changes:
                self._by_key.setdefault(change.key, []).append(change)
        return self._by_key.get(key, [])
