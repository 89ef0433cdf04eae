"""Rows of a stream that look into a table.

    current     the newest version there is, at once
    as of t     the version at the row's time t; complete when the table's watermark is beyond t, because a version of
                t or before would be late then

    W of the table's port or of the task > t      found at once
    else, when the join waits                     held; leaves at the first advance or checkpoint at which that holds
    t < W of the row's port - retention           late: the version may be gone

Like Flink's temporal join, but a row waits for the table only, not for the disorder of its own stream. An idle table
holds nobody: then the task's watermark, which leaves it out, is the one that counts.

Held rows leave by time, then in the order they came. Store: | time | number | key | -> kept row. What has left is
deleted by key, so that nothing leaves twice whatever the watermark does after a restart.
"""

import heapq
from collections.abc import Callable
from struct import Struct
from typing import Any

import msgspec

from streamflow.engine.fold_table import Fire
from streamflow.engine.row_size import check_of
from streamflow.engine.versioned_table import VersionedTable
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.model.wire import absent_row, kept_type
from streamflow.nodes.join_operators import VersionLookup
from streamflow.state.keys import START_BYTES, checked_key_bytes, key_from_bytes, pane_prefix
from streamflow.state.store import Change, Store, TableChanges

_NUMBER = Struct(">Q")
#: Held rows are looked at whenever event time passes a multiple of it, and at every checkpoint.
_STEP_MS = 100

#: What `find` gives for a row that has no version and does not go on without one, and for one that has to wait.
NOTHING, LATER = object(), object()


class CurrentLookup:
    """Looks up the newest version."""

    def __init__(self, lookup: VersionLookup, versions: VersionedTable) -> None:
        self._versions = versions
        self._absent = absent_row(lookup.ports[1]) if lookup.optional else NOTHING

    def find(self, key: Any, time_ms: int) -> Any:
        """The row of the table, all nulls when there is none, or NOTHING."""
        found = self._versions.current(key)
        return self._absent if found is None else found


class AsOfLookup:
    """Looks up the version as of a row's time. Works as a FoldTable for time and checkpoints when rows wait.

    of_stream, of_table: watermarks (ms) of the two ports; of_task: the one at which the task closed last.
    """

    def __init__(
        self,
        lookup: VersionLookup,
        versions: VersionedTable,
        store: Store,
        key_type: FieldType,
        of_stream: Callable[[], int],
        of_table: Callable[[], int],
        of_task: Callable[[], int],
    ) -> None:
        self.name = lookup.table
        self._lookup, self._versions, self._store = lookup, versions, store
        self._integer_keys = key_type is FieldType.INT
        self._of_stream, self._of_table, self._of_task = of_stream, of_table, of_task
        self._absent = absent_row(lookup.ports[1]) if lookup.optional else NOTHING
        self._decode = msgspec.json.Decoder(kept_type(lookup.ports[0])).decode
        self._encode, self._check = msgspec.json.Encoder().encode, check_of(lookup.ports[0])
        self._held: list[tuple[int, int, Any, Any]] = []
        self._fresh: dict[int, tuple[int, Any, Any]] = {}
        self._left: list[bytes] = []
        self._number = 0
        self._distance = 0

    def open_at(self, watermark_ms: int) -> None:
        """Load the rows that wait."""
        if not self._lookup.waits:
            return
        head = START_BYTES + _NUMBER.size
        for stored, raw in self._store.scan(self.name):
            number = _NUMBER.unpack(stored[START_BYTES:head])[0]
            row = self._decode(raw)
            self._held.append((row._event_time_ms, number, key_from_bytes(stored[head:], self._integer_keys), row))
            self._number = max(self._number, number + 1)
        heapq.heapify(self._held)

    def find(self, key: Any, time_ms: int) -> Any:
        """The version, all nulls when there is none, NOTHING, or LATER; None when the row is late."""
        behind_ms = max(self._of_stream(), self._of_task()) - self._lookup.retention_ms - time_ms
        if behind_ms > 0:
            self._distance = behind_ms
            return None
        if self._lookup.waits and time_ms >= self._complete_to():
            return LATER
        return self._at(key, time_ms)

    def _at(self, key: Any, time_ms: int) -> Any:
        found = self._versions.as_of(key, time_ms)
        return self._absent if found is None else found

    def _complete_to(self) -> int:
        """Every version before this time is there."""
        return max(self._of_table(), self._of_task())

    def hold(self, key: Any, time_ms: int, row: Any) -> None:
        """Let a row wait. Raises EventError(`too_many_rows`, `too_large`)."""
        if len(self._held) >= self._lookup.max_rows:
            message = f"{len(self._held)} rows wait for the table in this task, max_rows allows no more"
            raise EventError("too_many_rows", message)
        checked_key_bytes(key)
        self._check(row)
        number, self._number = self._number, self._number + 1
        heapq.heappush(self._held, (time_ms, number, key, row))
        self._fresh[number] = time_ms, key, row

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """How far behind its last moment the row found late just now was."""
        return self._distance

    def next_border(self, watermark_ms: int) -> int:
        """Soon enough not to hold much; outputs leave at checkpoints anyway."""
        return watermark_ms - watermark_ms % _STEP_MS + _STEP_MS

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Let rows go whose version is known."""
        complete_to, rows = max(self._of_table(), watermark_ms), []
        while self._held and self._held[0][0] < complete_to:
            time_ms, number, key, row = heapq.heappop(self._held)
            if self._fresh.pop(number, None) is None:
                self._left.append(_stored(time_ms, number, key))
            found = self._at(key, time_ms)
            if found is not NOTHING:
                rows.append((key, (time_ms, row, found)))
        if rows:
            fire(0, 0, rows, True)

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """The table's watermark may have moved without the task's."""
        self.close(watermark_ms, fire)

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Rows that wait since the last call, and those that have left since."""
        changes: list[Change] = [(stored, None) for stored in self._left]
        changes += [(_stored(at, number, key), self._encode(row)) for number, (at, key, row) in self._fresh.items()]
        self._left, self._fresh = [], {}
        return TableChanges(self.name, changes) if changes else None

    def evict(self) -> None:
        """Waiting rows stay in memory; `max_rows` bounds them."""

    @property
    def live_count(self) -> int:
        """Rows that wait."""
        return len(self._held)


def _stored(time_ms: int, number: int, key: Any) -> bytes:
    return pane_prefix(time_ms) + _NUMBER.pack(number) + checked_key_bytes(key)
