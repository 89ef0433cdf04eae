"""Rows of a join of two streams in one task, waiting for partners: a write-back cache over the store.

    left row of time t ──► right rows of its key in [t - before, t + after]      at once, one result each
                      └──► kept, for right rows to come, until the watermark has passed t + after
                           then, if it found none and the join says so, it leaves alone

Rows are kept in panes of time, at least before + after long, so that a row looks into two of them, and a pane is let go
as a whole. A pane of which memory does not hold all is not *complete*: keys that are not in memory are read.

    watermark W, lateness L      row of time t and reach r (after for left, before for right rows)
    late                         t < W of its port - L               leaves for the late topic
    alone                        t + r < W of the task - L           its partners would be late
    pane let go                  when that holds of every row that it could have

Store: | start of pane | key | 0x80 + port | number |, the value is the kept row; rows of a key and port are numbered in
the order they came. In UTF-8 no character begins with 0x80 or 0x81, so no other key's rows lie between those of a key.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any

import msgspec

from streamflow.engine.fold_table import MAX_LIVE, NEVER, Fire
from streamflow.engine.row_size import check_of
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.model.wire import absent_row, kept_type
from streamflow.nodes.join_operators import Join
from streamflow.state.keys import START_BYTES, checked_key_bytes, key_from_bytes, pane_prefix
from streamflow.state.store import Change, Store, TableChanges

_LONG_AGO = -(1 << 61)
_NUMBER = Struct(">I")
_SUFFIX_BYTES = 1 + _NUMBER.size

#: Rows of one key and port in a pane.
Rows = list[Any]


class _Pane:
    """Rows of one stretch of time; `rows` and `dirty` per port, by key. `dirty` has the numbers of changed rows."""

    __slots__ = ("complete", "dirty", "rows")

    def __init__(self, complete: bool) -> None:
        self.complete = complete
        self.rows: tuple[dict[Any, Rows], dict[Any, Rows]] = ({}, {})
        self.dirty: tuple[dict[Any, set[int]], dict[Any, set[int]]] = ({}, {})


class JoinTable:
    """State of a Join in one task. Works as a FoldTable for time and checkpoints; `enter` is called per row.

    watermarks: per port its watermark at this very row.
    """

    def __init__(self, join: Join, store: Store, key_type: FieldType, watermarks: Sequence[Callable[[], int]]) -> None:
        self.name = join.table
        self._join, self._store, self._watermarks = join, store, watermarks
        self._integer_keys = key_type is FieldType.INT
        self._size, self._lateness, self._reach = join.pane_ms, join.allowed_lateness_ms, join.reach_ms
        #: Per port how far before and after a row its partners may be.
        self._around = (join.before_ms, join.after_ms), (join.after_ms, join.before_ms)
        self._decode = [msgspec.json.Decoder(kept_type(schema)).decode for schema in join.ports]
        self._encode = msgspec.json.Encoder().encode
        self._check = [check_of(schema) for schema in join.ports]
        self._absent = [absent_row(schema) for schema in join.ports]
        self._panes: dict[int, _Pane] = {}
        self._watermark = -NEVER
        self._expired_below: int | None = None
        self._distance = 0
        self._count = 0
        #: Rows that may have to leave alone: (first watermark at which they do, port, key, time).
        self._waiting: list[tuple[int, int, Any, int]] = []

    def open_at(self, watermark_ms: int) -> None:
        """Load what the store has, as far as memory goes; rows that may leave alone are all registered."""
        self._watermark = watermark_ms if watermark_ms > _LONG_AGO else -NEVER
        for stored, raw in self._store.scan(self.name):
            start, key, port = self._split(stored)
            pane = self._panes.get(start)
            if pane is None:
                pane = self._panes[start] = _Pane(True)
            row = self._decode[port](raw)
            if self._count < MAX_LIVE or key in pane.rows[port]:
                pane.rows[port].setdefault(key, []).append(row)
                self._count += 1
            else:
                pane.complete = False
            due = self._due(port, row._event_time_ms)
            if self._join.alone[port] and not row._flag and due > watermark_ms:
                heapq.heappush(self._waiting, (due, port, key, row._event_time_ms))

    # -- a row --------------------------------------------------------------------------------------------------------

    def enter(self, port: int, key: Any, time_ms: int, row: Any) -> Rows | None:
        """Keep a row; gives its partners, None when it is late. Raises EventError(`too_many_rows`, `too_large`)."""
        behind_ms = max(self._watermarks[port](), self._watermark) - self._lateness - time_ms
        if behind_ms > 0:
            self._distance = behind_ms
            return None
        self._check[port](row)
        start = time_ms - time_ms % self._size
        pane = self._panes.get(start)
        if pane is None:
            pane = self._panes[start] = _Pane(True)
        own = self._rows(start, pane, port, key)
        if own is None:
            checked_key_bytes(key)
            own = pane.rows[port][key] = []
        if len(own) >= self._join.max_rows:
            message = f"{len(own)} rows of this key wait in {self._size} ms, max_rows allows no more"
            raise EventError("too_many_rows", message)
        found = self._partners(port, key, time_ms)
        if found:
            row._flag = True
        elif self._join.alone[port]:
            heapq.heappush(self._waiting, (self._due(port, time_ms), port, key, time_ms))
        pane.dirty[port].setdefault(key, set()).add(len(own))
        own.append(row)
        self._count += 1
        return found

    def _partners(self, port: int, key: Any, time_ms: int) -> Rows:
        before, after = self._around[port]
        first, last, other = time_ms - before, time_ms + after, 1 - port
        marks = self._join.alone[other]
        found: Rows = []
        for start in range(first - first % self._size, last + 1, self._size):
            pane = self._panes.get(start)
            rows = None if pane is None else self._rows(start, pane, other, key)
            if pane is None or not rows:
                continue
            for number, row in enumerate(rows):
                if first <= row._event_time_ms <= last:
                    found.append(row)
                    if marks and not row._flag:
                        row._flag = True
                        pane.dirty[other].setdefault(key, set()).add(number)
        return found

    def _rows(self, start: int, pane: _Pane, port: int, key: Any) -> Rows | None:
        """Rows of a key in a pane, None when there are none."""
        rows = pane.rows[port].get(key)
        if rows is None and not pane.complete:
            rows = self._read(start, port, key)
            if rows:
                pane.rows[port][key] = rows
                self._count += len(rows)
        return rows or None

    def _read(self, start: int, port: int, key: Any) -> Rows:
        """Rows of a key in the store. Read one by one: a scan would look through all that is not on disk yet."""
        rows: Rows = []
        head = self._head(start, port, key)
        while (raw := self._store.get(self.name, head + _NUMBER.pack(len(rows)))) is not None:
            rows.append(self._decode[port](raw))
        return rows

    @staticmethod
    def _head(start: int, port: int, key: Any) -> bytes:
        """What the store keys of a key's rows begin with."""
        return pane_prefix(start) + checked_key_bytes(key) + bytes([0x80 + port])

    def _due(self, port: int, time_ms: int) -> int:
        """First watermark at which a row without a partner leaves alone."""
        return time_ms + self._reach[port] + self._lateness + 1

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """How far behind its last moment the row found late just now was."""
        return self._distance

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_border(self, watermark_ms: int) -> int:
        """A few borders per stretch: rows leave alone, and panes go, at the first border or checkpoint behind it."""
        step = self._size // 16 if any(self._join.alone) else self._size
        return watermark_ms - watermark_ms % step + step

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Let rows go that no partner can reach any more; those without one leave first, by time."""
        self._watermark = watermark_ms
        rows = list(self._alone(watermark_ms))
        if rows:
            fire(0, 0, rows, True)
        kept_from = self._kept_from(watermark_ms)
        for start in [start for start in self._panes if start < kept_from]:
            self._count -= sum(len(rows) for each in self._panes.pop(start).rows for rows in each.values())

    def _alone(self, watermark_ms: int) -> Iterator[tuple[Any, tuple[int, Any, Any]]]:
        """(key, (event time, left, right)) of rows that leave alone."""
        told: tuple[int, int, Any, int] | None = None
        while self._waiting and self._waiting[0][0] <= watermark_ms:
            entry = _, port, key, time_ms = heapq.heappop(self._waiting)
            if entry == told:
                continue  # rows of one time are told together
            told = entry
            start = time_ms - time_ms % self._size
            at = time_ms + self._reach[port]
            for row in self._rows(start, self._panes[start], port, key) or ():
                if row._event_time_ms == time_ms and not row._flag:
                    yield key, (at, self._absent[0], row) if port else (at, row, self._absent[1])

    def _kept_from(self, watermark_ms: int) -> int:
        """Start of the first pane with room for a row that may still find a partner."""
        first = watermark_ms - self._lateness - max(self._reach)
        return first - first % self._size

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Results come at once."""

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """New rows, and those that found their first partner."""
        changes: list[Change] = []
        for start, pane in self._panes.items():
            for port in (0, 1):
                for key, numbers in pane.dirty[port].items():
                    rows, head = pane.rows[port][key], self._head(start, port, key)
                    changes += [(head + _NUMBER.pack(number), self._encode(rows[number])) for number in numbers]
                pane.dirty[port].clear()
        expire_below = self._expiry(watermark_ms)
        if not changes and expire_below is None:
            return None
        return TableChanges(self.name, changes, expire_below)

    def _expiry(self, watermark_ms: int) -> bytes | None:
        if watermark_ms < _LONG_AGO:
            return None
        kept_from = self._kept_from(watermark_ms)
        if self._expired_below is not None and kept_from <= self._expired_below:
            return None
        self._expired_below = kept_from
        return pane_prefix(kept_from)

    def evict(self) -> None:
        """Keys without a change since the last checkpoint are left to the store, when memory is full."""
        if self._count <= MAX_LIVE:
            return
        self._count = 0
        for pane in self._panes.values():
            pane.complete = False
            for port in (0, 1):
                rows, dirty = pane.rows[port], pane.dirty[port]
                for key in [key for key in rows if key not in dirty]:
                    del rows[key]
                self._count += sum(map(len, rows.values()))

    @property
    def live_count(self) -> int:
        """Rows in memory."""
        return self._count

    def _split(self, stored: bytes) -> tuple[int, Any, int]:
        """(start of pane, key, port) of a store key."""
        key = key_from_bytes(stored[START_BYTES:-_SUFFIX_BYTES], self._integer_keys)
        start = int.from_bytes(stored[:START_BYTES], "big") - (1 << 63)
        return start, key, stored[-_SUFFIX_BYTES] - 0x80
