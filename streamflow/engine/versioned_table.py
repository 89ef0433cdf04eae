"""Versions of every key of a table in one task: a write-back cache over the store.

    versions of a key, by event time     v1 ── v2 ──────── v3       as of t: the last one at or before t
                                               │ watermark - retention
                                               └ all from the last one before it are kept, at most `versions`

A row that comes late takes its place in time; it changes what is joined from then on, not what was. Of two rows of one
time the one that came last counts. A deletion is a version too. Bound of a key: `versions` and KEY_MAX_BYTES; beyond
either the oldest go, and are counted, as a join as of their time does not find them any more.

Store: | key | -> JSON array of kept rows, ascending.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.engine.fold_table import MAX_LIVE, NEVER
from streamflow.engine.row_size import measure
from streamflow.model.wire import kept_type
from streamflow.nodes.join_operators import Upsert
from streamflow.state.keys import checked_key_bytes
from streamflow.state.store import Change, Store, TableChanges

#: Versions of a key take at most so many bytes in the store; the newest is kept whatever its size.
KEY_MAX_BYTES = 1 << 20


class VersionedTable:
    """State of an Upsert in one task.

    of_task: the watermark (ms) at which the task closed last. dropped: told how many versions went by a bound of their
    key, before `retention` let them go.
    """

    def __init__(
        self, upsert: Upsert, store: Store, of_task: Callable[[], int], dropped: Callable[[int], None]
    ) -> None:
        self.name = upsert.table
        self._upsert, self._store, self._of_task, self._dropped = upsert, store, of_task, dropped
        self._horizon = of_task() - upsert.retention_ms
        self._live: dict[Any, list[Any]] = {}
        self._dirty: dict[Any, list[Any]] = {}
        self._measure, self._largest_bytes = measure(), 0
        self._complete = next(store.scan(self.name), None) is None
        row: Any = kept_type(upsert.row)
        #: Versions of a row of the store.
        self.decode = msgspec.json.Decoder(list[row]).decode
        self._encode = msgspec.json.Encoder().encode
        #: The row that was current before the last `put`, None when there was none.
        self.before: Any = None

    def put(self, key: Any, time_ms: int, row: Any) -> bool:
        """Take a version; whether it is the newest. Raises EventError(`too_large`) for the key."""
        versions = self._versions(key)
        self._largest_bytes = max(self._largest_bytes, self._measure(row) + 1)
        self.before = _present(versions)
        place = bisect_right(versions, time_ms, key=_time_of)
        if place and versions[place - 1]._event_time_ms == time_ms:
            place -= 1
            versions[place] = row
        else:
            if not versions:
                checked_key_bytes(key)
            versions.insert(place, row)
        newest = place == len(versions) - 1
        self._prune(versions)
        self._dirty[key] = versions
        return newest

    def _prune(self, versions: list[Any]) -> None:
        horizon, count = self._horizon, len(versions)
        past = max(0, bisect_right(versions, horizon, key=_time_of) - 1)
        first = max(past, count - self._upsert.versions)
        if (count - first) * self._largest_bytes >= KEY_MAX_BYTES:
            first = max(first, self._first_that_fits(versions))
        if first > past:
            self._dropped(first - past)
        del versions[:first]
        if len(versions) == 1 and versions[0]._flag and versions[0]._event_time_ms <= horizon:
            versions.clear()

    def _first_that_fits(self, versions: list[Any]) -> int:
        """Place of the oldest version that KEY_MAX_BYTES have room for, beside those behind it."""
        place = len(versions) - 1
        size_bytes = self._measure(versions[place]) + 2
        while place and (size_bytes := size_bytes + self._measure(versions[place - 1]) + 1) <= KEY_MAX_BYTES:
            place -= 1
        return place

    def current(self, key: Any) -> Any:
        """The newest row of a key, None when there is none or it was deleted."""
        return _present(self._versions(key))

    def newest(self, key: Any) -> Any:
        """The newest version of a key, which may be a deletion; None when there is none."""
        versions = self._versions(key)
        return versions[-1] if versions else None

    def newest_ms(self, key: Any) -> int:
        """Event time of the newest version of a key, also of a deletion; far in the past when there is none."""
        versions = self._versions(key)
        return _time_of(versions[-1]) if versions else -NEVER

    def as_of(self, key: Any, time_ms: int) -> Any:
        """The row that a key had at a time, None when it had none."""
        versions = self._versions(key)
        place = bisect_right(versions, time_ms, key=_time_of)
        return _present(versions[place - 1 : place])

    def _versions(self, key: Any) -> list[Any]:
        found = self._dirty.get(key)
        if found is None:
            found = self._live.get(key)
        if found is None:
            raw = None if self._complete else self._store.get(self.name, checked_key_bytes(key))
            found = [] if raw is None else self.decode(raw)
            if found or not self._complete:
                self._live[key] = found
                self._largest_bytes = max([self._largest_bytes, *(self._measure(each) + 1 for each in found)])
        return found

    def take_changes(self) -> TableChanges | None:
        """Every key that changed. What waits for a version has it by now, so older ones may go from here on."""
        self._horizon = self._of_task() - self._upsert.retention_ms
        if not self._dirty:
            return None
        changes: list[Change] = [
            (checked_key_bytes(key), self._encode(each) if each else None) for key, each in self._dirty.items()
        ]
        self._live.update(self._dirty)
        self._dirty = {}
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Bound memory. Call only when everything taken is in the store."""
        if len(self._live) > MAX_LIVE:
            self._live = {}
            self._complete = False

    @property
    def live_count(self) -> int:
        """Keys in memory."""
        return len(self._live)


def _time_of(version: Any) -> int:
    time: int = version._event_time_ms
    return time


def _present(versions: list[Any]) -> Any:
    return versions[-1] if versions and not versions[-1]._flag else None
