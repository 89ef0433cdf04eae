"""Rows of a combine in one task, waiting for the other branches of their key.

    row ──► its key's rows: is there one of every port, the earliest of each, within the time-out?
              yes    they leave at once, as one
              no     it waits; when the watermark is beyond the earliest row + time-out, that row and what lies within
                     the time-out behind it (the earliest of each port) leave, incomplete

Which rows go together is settled by their times, so with one row per key and port the order of reading does not matter.
If a port gives a key again before the others have, the second waits for the next combination.

A row is late when it lies behind the watermark of its own port. Bound: `max_rows` of a task, MAX_PER_KEY and
ROW_MAX_BYTES of a key, in memory.

Store: | key | -> JSON array of [port, kept row]; what comes and leaves between two checkpoints is not there.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from streamflow.engine.fold_table import NEVER, Fire
from streamflow.engine.row_size import check_of, refuse_row
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.model.wire import absent_row, kept_type
from streamflow.nodes.join_operators import Combine
from streamflow.state.keys import checked_key_bytes, key_from_bytes
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.layout import ROW_MAX_BYTES

#: Rows of one key that may wait; more are a mistake of the key.
MAX_PER_KEY = 1_000
_LONG_AGO = -(1 << 61)
#: Of a row in its key's array.
_FRAMING_BYTES = 8

#: A row that waits, with its port.
Waiting = tuple[int, Any]
#: Event time, a row per port (all nulls where it is missing), and the names of missing ones.
Combined = tuple[Any, ...]


class CombineTable:
    """State of a Combine in one task. Works as a FoldTable for time and checkpoints; `enter` is called per row."""

    def __init__(
        self, combine: Combine, store: Store, key_type: FieldType, watermarks: Sequence[Callable[[], int]]
    ) -> None:
        self.name = combine.table
        self._combine, self._store, self._watermarks = combine, store, watermarks
        self._integer_keys = key_type is FieldType.INT
        self._absent = [absent_row(schema) for schema in combine.ports]
        self._decode = [msgspec.json.Decoder(kept_type(schema)).decode for schema in combine.ports]
        self._split = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]]).decode
        self._encode = msgspec.json.Encoder().encode
        self._check = [check_of(schema) for schema in combine.ports]
        #: Bytes that a key's rows take together, about.
        self._bytes: dict[Any, int] = {}
        self._live: dict[Any, list[Waiting]] = {}
        self._changed: dict[Any, None] = {}
        self._stored: set[Any] = set()
        #: (first watermark at which a key's earliest row leaves, key).
        self._due: list[tuple[int, Any]] = []
        #: The same of keys that came since `close`; most have left by the next one.
        self._fresh: dict[Any, int] = {}
        self._watermark = -NEVER
        self._count = 0
        self._distance = 0

    def open_at(self, watermark_ms: int) -> None:
        """Load what waits."""
        self._watermark = watermark_ms if watermark_ms > _LONG_AGO else -NEVER
        for stored, raw in self._store.scan(self.name):
            key = key_from_bytes(stored, self._integer_keys)
            rows = self._live[key] = [(port, self._decode[port](each)) for port, each in self._split(raw)]
            self._stored.add(key)
            self._bytes[key] = len(raw)
            self._count += len(rows)
            self._register(key, rows)

    def enter(self, port: int, key: Any, time_ms: int, row: Any) -> Combined | None:
        """Take a row; what it completes, () when nothing, None when it is late.

        Raises EventError(`too_many_rows`, `too_large`).
        """
        behind_ms = max(self._watermarks[port](), self._watermark) - time_ms
        if behind_ms > 0:
            self._distance = behind_ms
            return None
        rows = self._live.get(key)
        if rows is None:
            checked_key_bytes(key)
            rows = []
        if self._count >= self._combine.max_rows or len(rows) >= MAX_PER_KEY:
            message = f"{self._count} rows wait in this task, {len(rows)} of this key: no more are allowed"
            raise EventError("too_many_rows", message)
        size_bytes = self._bytes.get(key, 0) + self._check[port](row) + _FRAMING_BYTES
        came = port, row
        whole = self._whole([*rows, came])
        if whole is None and size_bytes > ROW_MAX_BYTES:
            refuse_row(size_bytes)
        self._live[key], self._bytes[key] = rows, size_bytes
        is_first = all(time_ms < each._event_time_ms for _, each in rows)
        rows.append(came)
        self._count += 1
        self._changed[key] = None
        if whole is not None:
            self._remove(key, rows, whole)
            if rows:
                self._register(key, rows)
            return self._combined(whole, max(each._event_time_ms for _, each in whole))
        if is_first:
            self._register(key, rows)
        return ()

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """How far behind its last moment the row found late just now was."""
        return self._distance

    # -- what goes together -------------------------------------------------------------------------------------------

    def _heads(self, rows: list[Waiting]) -> list[Waiting]:
        """The earliest row of every port; of one time the one that came first."""
        heads: dict[int, Waiting] = {}
        for each in rows:
            head = heads.get(each[0])
            if head is None or each[1]._event_time_ms < head[1]._event_time_ms:
                heads[each[0]] = each
        return list(heads.values())

    def _whole(self, rows: list[Waiting]) -> list[Waiting] | None:
        """One row of every port within the time-out, None when there is none."""
        if len(rows) < len(self._absent):
            return None
        heads = self._heads(rows)
        times = [row._event_time_ms for _, row in heads]
        complete = len(heads) == len(self._absent) and max(times) - min(times) <= self._combine.timeout_ms
        return heads if complete else None

    def _remove(self, key: Any, rows: list[Waiting], gone: list[Waiting]) -> None:
        rows[:] = [each for each in rows if not any(each is other for other in gone)]
        self._count -= len(gone)
        self._changed[key] = None
        if rows:
            self._bytes[key] = sum(self._check[port](each) + _FRAMING_BYTES for port, each in rows)
        else:
            del self._live[key], self._bytes[key]
            self._fresh.pop(key, None)

    def _combined(self, rows: list[Waiting], time_ms: int) -> Combined:
        by_port = dict(rows)
        missing = tuple(name for port, name in enumerate(self._combine.names) if port not in by_port)
        return time_ms, *(by_port.get(port, absent) for port, absent in enumerate(self._absent)), missing

    def _register(self, key: Any, rows: list[Waiting]) -> None:
        first = min(row._event_time_ms for _, row in rows)
        self._fresh[key] = first + self._combine.timeout_ms + 1

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_border(self, watermark_ms: int) -> int:
        """A few borders per time-out; what is due leaves at the first border or checkpoint behind it."""
        step = max(1, self._combine.timeout_ms // 16)
        return watermark_ms - watermark_ms % step + step

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Let go what has waited long enough, by time."""
        self._watermark = watermark_ms
        rows = list(self._timed_out(watermark_ms))
        if rows:
            fire(0, 0, rows, True)

    def _timed_out(self, watermark_ms: int) -> Iterator[tuple[Any, Combined]]:
        self._settle()
        while self._due and self._due[0][0] <= watermark_ms:
            due, key = heapq.heappop(self._due)
            rows = self._live.get(key)
            if not rows:
                continue
            last = min(row._event_time_ms for _, row in rows) + self._combine.timeout_ms
            if last >= due:
                continue  # the row it was for has left; the others are registered
            whole = self._whole(rows)
            group = whole or [each for each in self._heads(rows) if each[1]._event_time_ms <= last]
            self._remove(key, rows, group)
            if rows:
                self._register(key, rows)
                self._settle()
            yield key, self._combined(group, last)

    def _settle(self) -> None:
        for key, due in self._fresh.items():
            heapq.heappush(self._due, (due, key))
        self._fresh.clear()

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Results come at once."""

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Keys whose waiting rows changed; of those that have left only the ones that the store has."""
        changes: list[Change] = []
        for key in self._changed:
            rows = self._live.get(key)
            if rows:
                changes.append((checked_key_bytes(key), self._encode(rows)))
                self._stored.add(key)
            elif key in self._stored:
                changes.append((checked_key_bytes(key), None))
                self._stored.discard(key)
        self._changed.clear()
        return TableChanges(self.name, changes) if changes else None

    def evict(self) -> None:
        """Waiting rows stay in memory; `max_rows` bounds them."""

    @property
    def live_count(self) -> int:
        """Rows that wait."""
        return self._count
