"""Keys of a table that end by event time, and leave the store.

    newest row of a key at t ──ttl──► t + ttl    the key ends: a deletion of that time, told to who looks into the table
    deletion of time d       ──────► d + retention    nobody can ask for a row before it: the key leaves the store

    border b · step      step = ttl / 16        a key ends at the first border at or behind t + ttl

A version is none any more `ttl` after its time, whatever the border: what is joined as of a time does not depend on it.
A key has one entry in an agenda, and moves on when that comes up and it has had rows since: rows cost a look-up. Many
keys of one border end in slices (closing.py): their deletions in the store say which have. Keys leave the store
at checkpoints, at most CLOSING_ROWS each, when what waits for a version has it; the changelog gets tombstones.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.engine import fold_table
from streamflow.engine.fold_table import NEVER, Fire, Reached
from streamflow.engine.versioned_table import VersionedTable
from streamflow.kit.agenda import Agenda
from streamflow.model.schema import FieldType
from streamflow.nodes.join_operators import Upsert
from streamflow.state.keys import key_from_bytes
from streamflow.state.store import Store, TableChanges

#: Borders per ttl at which keys end.
_BORDERS = 16


class EndingVersions(VersionedTable):
    """A VersionedTable whose keys end. border_moved: told a watermark at which a key ends that may be near."""

    def __init__(
        self,
        upsert: Upsert,
        store: Store,
        of_task: Callable[[], int],
        dropped: Callable[[int], None],
        border_moved: Callable[[int], None],
    ) -> None:
        super().__init__(upsert, store, of_task, dropped)
        self._ttl = upsert.ttl_ms or NEVER
        self._step = max(1, self._ttl // _BORDERS)
        self._border_moved = border_moved
        #: Keys by the border at which they may end; deleted ones by the time of their deletion.
        self.endings, self._deleted = Agenda(), Agenda()

    def register(self, key: Any, newest: Any) -> None:
        """See to it that a key is looked at when it may end, or leave."""
        if newest._flag:
            self._deleted.want(key, newest._event_time_ms)
        elif self._ttl != NEVER:
            border_ms = -((newest._event_time_ms + self._ttl) // -self._step) * self._step
            if self.endings.want(key, border_ms):
                self._border_moved(border_ms)

    def put(self, key: Any, time_ms: int, row: Any) -> bool:
        """As in VersionedTable."""
        newest = super().put(key, time_ms, row)
        if newest:
            self.register(key, row)
        return newest

    def as_of(self, key: Any, time_ms: int) -> Any:
        """As in VersionedTable."""
        found = super().as_of(key, time_ms)
        return None if found is None or found._event_time_ms + self._ttl <= time_ms else found

    def end(self, key: Any, watermark_ms: int) -> Any:
        """The deletion of a key that ends at a watermark, None when it has had rows since or was deleted."""
        versions = self._versions(key)
        if not versions or versions[-1]._flag:
            return None
        newest = versions[-1]
        if newest._event_time_ms + self._ttl > watermark_ms:
            self.register(key, newest)
            return None
        deletion = copy(newest)
        deletion._event_time_ms, deletion._flag = newest._event_time_ms + self._ttl, True
        self.put(key, deletion._event_time_ms, deletion)
        return deletion

    def forget_deleted(self) -> None:
        """Keys that nobody can ask for leave with the next changes, so many at a time."""
        for _ in range(fold_table.CLOSING_ROWS):
            found = self._deleted.pop(self._horizon)
            if found is None:
                return
            versions = self._versions(found[1])
            self._prune(versions)
            self._dirty[found[1]] = versions
            if versions:
                self.register(found[1], versions[-1])  # it had rows since, and may have been deleted again


class KeyEndings:
    """A FoldTable over an EndingVersions: time and checkpoints of it."""

    def __init__(self, versions: EndingVersions, store: Store, key_type: FieldType) -> None:
        self.name = versions.name
        self._versions, self._store = versions, store
        self._integer_keys = key_type is FieldType.INT
        self._closed_to = -NEVER
        self.evict = versions.evict

    def open_at(self, watermark_ms: int) -> None:
        """Every key of the store is looked at once."""
        self._closed_to = watermark_ms
        for stored, raw in self._store.scan(self.name):
            self._versions.register(key_from_bytes(stored, self._integer_keys), self._versions.decode(raw)[-1])

    def next_border(self, watermark_ms: int) -> int:
        """The first border at which a key may end."""
        return max(self._versions.endings.first_ms, watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """End keys; the end of a bounded run ends none."""
        if watermark_ms >= END_OF_TIME:
            return None
        for _ in range(fold_table.CLOSING_ROWS):
            found = self._versions.endings.pop(watermark_ms)
            if found is None:
                self._closed_to = watermark_ms
                return None
            deletion = self._versions.end(found[1], watermark_ms)
            if deletion is not None:
                fire(0, 0, [(found[1], (deletion._event_time_ms, deletion))], False)
        return Reached(self._closed_to)

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """No row is late here."""
        return 0

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Rows leave when they come."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """As in VersionedTable, and the keys that leave."""
        self._versions.forget_deleted()
        return self._versions.take_changes()

    @property
    def live_count(self) -> int:
        """Keys in memory."""
        return self._versions.live_count
