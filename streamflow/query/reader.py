"""Reads rows of a table from the store of one task. Only committed data is there, so every answer is read-committed."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from streamflow.model.schema import FieldType
from streamflow.plan.plan import TablePlan
from streamflow.query.request import Page, RowState, StoredRow, TableQuery
from streamflow.state.keys import key_from_bytes, pane_prefix, split_window_key
from streamflow.state.store import Store
from streamflow.windows.calendar import Calendar
from streamflow.windows.tumbling import Tumbling

#: Windows that one read looks into. A key is sought window by window, some 10 µs each, and the event loop waits
#: meanwhile; who looks for a rare key in a long history gets short, even empty, pages with a cursor. 1,000 hours are 41
#: days. Reads without a key need no such bound: every row they meet is an answer, so limit + 1 rows are the most.
PANES_MAX = 1_000

#: Value of a stored row, by name.
Decode = Callable[[bytes], dict[str, Any]]

#: Rows of a key in the part of time that starts at a moment in ms, not below a store key: (store key, value).
RowsOfPart = Callable[[int, bytes], Iterable[tuple[bytes, bytes]]]


class TableReader(ABC):
    """Reads one table of one task."""

    def __init__(self, table: TablePlan) -> None:
        self._table = table
        field = table.row_schema.field(table.key_name or "")
        self._integer_keys = field is not None and field.type is FieldType.INT

    def read(self, store: Store, watermark_ms: int, query: TableQuery) -> Page:
        """At most limit + 1 rows in store order out of at most PANES_MAX windows."""
        return self.read_all([(store, watermark_ms)], query)

    def read_all(self, parts: Sequence[tuple[Store, int]], query: TableQuery) -> Page:
        """The same of several partitions, (store, watermark in ms) each: as many rows are decoded as are shown."""
        rows: list[StoredRow] = []
        found = (self._rows(store, watermark_ms, query) for store, watermark_ms in parts)
        for store_key, row in heapq.merge(*found, key=_place):
            if row is None:
                return Page(rows, store_key)
            rows.append(StoredRow(store_key, row))
            if len(rows) > query.limit:
                break
        return Page(rows)

    #: Whether every row of an answer is of one stored row, so that changes can be shown one by one.
    is_row_by_row = True

    def stored(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        """(store key, value) of the table in order, from behind `query.after`, at least those that the query's key and
        times ask for. None as value ends the read early: everything up to that key was looked at.
        """
        yield from store.scan(self._table.name, behind(query.after, b""))

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """(start of the window in ms, key) of a stored row; None as start where a query's times are of no use."""
        return None, store_key

    @abstractmethod
    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """The rows of an answer that a stored row stands for; only where `is_row_by_row`."""

    @abstractmethod
    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """(store key, row) in order, from behind `query.after`.

        None as row ends the read early: everything up to that key was looked at.
        """

    def _parts_of_key(
        self, store: Store, lower: bytes, upper: bytes | None, rows_of: RowsOfPart
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """A key's rows where rows stand by part of time before key: one seek per part that exists, PANES_MAX at most.

        None as value ends the read early, everything up to the key was looked at.
        """
        for _ in range(PANES_MAX):
            found = next(store.scan(self._table.name, lower, upper), None)
            if found is None:
                return
            start, _key = split_window_key(found[0])
            yield from rows_of(start, lower)
            lower = pane_prefix(start + 1)
        yield lower, None

    def _row(self, key: bytes, start: int, end: int, final: bool, value: dict[str, Any]) -> dict[str, Any]:
        shown = key_from_bytes(key, self._integer_keys)
        return {"key": shown, "start": start, "end": end, "final": final, "value": value}


class KeyedReader(TableReader):
    """A table with one row per key, which is never final."""

    def __init__(self, table: TablePlan, decode: Decode) -> None:
        super().__init__(table)
        self._decode = decode

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        if query.state is RowState.FINAL:
            return
        for store_key, raw in self.stored(store, query):
            yield store_key, self.shown(store_key, raw, watermark_ms)[0]

    def stored(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes]]:
        """Rows of one key or of all."""
        if query.key is None:
            yield from store.scan(self._table.name, behind(query.after, b""))
        elif query.after is None or query.key > query.after:
            value = store.get(self._table.name, query.key)
            if value is not None:
                yield query.key, value

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """One row."""
        key = key_from_bytes(store_key, self._integer_keys) if store_key else None
        return [{"key": key, "final": False, "value": self._decode(raw)}]


class PaneReader(TableReader):
    """A table of windows that are one pane each."""

    def __init__(self, table: TablePlan, decode: Decode) -> None:
        super().__init__(table)
        assert isinstance(table.window, Tumbling | Calendar)
        self._decode, self._shape = decode, table.window

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        for store_key, raw in self.stored(store, self._bounded(query, watermark_ms)):
            if raw is None:
                yield store_key, None
                return
            yield store_key, self.shown(store_key, raw, watermark_ms)[0]

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """Start and key of the window."""
        return split_window_key(store_key)

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """One window."""
        start, key = split_window_key(store_key)
        end = self._shape.pane_of(start)[1]
        return [self._row(key, start, end, end + self._table.lateness_ms <= watermark_ms, self._decode(raw))]

    def _bounded(self, query: TableQuery, watermark_ms: int) -> TableQuery:
        """The query with its state as bounds of the window start: final is what starts before the first open one."""
        if query.state is RowState.LATEST:
            return query
        first_open = self._shape.start_of_end(self._shape.next_end(watermark_ms - self._table.lateness_ms))
        if query.state is RowState.FINAL:
            return replace(query, to_ms=first_open if query.to_ms is None else min(query.to_ms, first_open))
        return replace(query, from_ms=first_open if query.from_ms is None else max(query.from_ms, first_open))

    def stored(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        """Windows of one key or of all."""
        name, key = self._table.name, query.key
        lower = behind(query.after, b"" if query.from_ms is None else pane_prefix(query.from_ms))
        upper = None if query.to_ms is None else pane_prefix(query.to_ms)
        if key is None:
            return store.scan(name, lower, upper)

        def row_of(start: int, lower: bytes) -> list[tuple[bytes, bytes]]:
            store_key = pane_prefix(start) + key
            value = store.get(name, store_key) if store_key >= lower else None
            return [] if value is None else [(store_key, value)]

        return self._parts_of_key(store, lower, upper, row_of)


def _place(found: tuple[bytes, dict[str, Any] | None]) -> tuple[bytes, bool]:
    """A read that ends early at a key comes behind the other partitions' row of that key."""
    return found[0], found[1] is None


def behind(after: bytes | None, lower: bytes) -> bytes:
    """Smallest key greater than `after`, at least `lower`."""
    return lower if after is None else max(lower, after + b"\0")
