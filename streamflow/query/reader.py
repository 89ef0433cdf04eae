"""Reads rows of a table from the store of one task. Only committed data is there, so every answer is read-committed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from streamflow.model.schema import FieldType
from streamflow.plan.plan import TablePlan
from streamflow.query.request import Page, RowState, StoredRow, TableQuery
from streamflow.state.keys import key_from_bytes, pane_prefix, split_window_key
from streamflow.state.store import Store

#: Windows that one read looks into. A key is sought window by window, some 10 µs each, and the event loop waits
#: meanwhile; who looks for a rare key in a long history gets short, even empty, pages with a cursor. 1,000 hours are 41
#: days. Reads without a key need no such bound: every row they meet is an answer, so limit + 1 rows are the most.
PANES_MAX = 1_000

#: Value of a stored row, by name.
Decode = Callable[[bytes], dict[str, Any]]


class TableReader:
    """One table of one task. `lateness_ms`: how long windows stay open past their end."""

    def __init__(self, table: TablePlan, decode: Decode, lateness_ms: int) -> None:
        self._table, self._decode, self._lateness_ms = table, decode, lateness_ms
        field = table.row_schema.field(table.key_name or "")
        self._integer_keys = field is not None and field.type is FieldType.INT

    def read(self, store: Store, watermark_ms: int, query: TableQuery) -> Page:
        """At most limit + 1 rows in store order out of at most PANES_MAX windows."""
        rows: list[StoredRow] = []
        if query.state is RowState.FINAL and not self._table.windowed:
            return Page(rows)  # a running count is never final
        for store_key, raw in self._candidates(store, self._bounded(query, watermark_ms)):
            if raw is None:
                return Page(rows, store_key)
            rows.append(StoredRow(store_key, self._row(store_key, raw, watermark_ms)))
            if len(rows) > query.limit:
                break
        return Page(rows)

    def _bounded(self, query: TableQuery, watermark_ms: int) -> TableQuery:
        """The query with its state as bounds of the window start: final means start <= watermark - lateness - size."""
        first_open = watermark_ms - self._lateness_ms - self._table.size_ms + 1
        if not self._table.windowed or query.state is RowState.LATEST:
            return query
        if query.state is RowState.FINAL:
            return replace(query, to_ms=first_open if query.to_ms is None else min(query.to_ms, first_open))
        return replace(query, from_ms=first_open if query.from_ms is None else max(query.from_ms, first_open))

    def _candidates(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        """(store key, value) of rows; None as value ends the read early, everything up to the key was looked at."""
        if not self._table.windowed:
            if query.key is not None:
                return self._one(store, query.key, query)
            return store.scan(self._table.name, _behind(query.after, b""))
        if query.key is not None:
            return self._panes_of_key(store, query.key, query)
        lower = b"" if query.from_ms is None else pane_prefix(query.from_ms)
        upper = None if query.to_ms is None else pane_prefix(query.to_ms)
        return store.scan(self._table.name, _behind(query.after, lower), upper)

    def _one(self, store: Store, key: bytes, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        value = store.get(self._table.name, key)
        if value is not None and (query.after is None or key > query.after):
            yield key, value

    def _panes_of_key(self, store: Store, key: bytes, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        """One seek per pane: from the key's place in a pane to its place in the next pane that exists."""
        name = self._table.name
        lower = _behind(query.after, b"" if query.from_ms is None else pane_prefix(query.from_ms))
        upper = None if query.to_ms is None else pane_prefix(query.to_ms)
        for _ in range(PANES_MAX):
            found = next(store.scan(name, lower, upper), None)
            if found is None:
                return
            start, _key = split_window_key(found[0])
            store_key = pane_prefix(start) + key
            value = found[1] if found[0] == store_key else store.get(name, store_key)
            if value is not None and store_key >= lower:
                yield store_key, value
            lower = pane_prefix(start + 1)
        yield lower, None

    def _row(self, store_key: bytes, raw: bytes, watermark_ms: int) -> dict[str, Any]:
        if not self._table.windowed:
            key = key_from_bytes(store_key, self._integer_keys) if store_key else None
            return {"key": key, "final": False, "value": self._decode(raw)}
        start, key_part = split_window_key(store_key)
        end = start + self._table.size_ms
        return {
            "key": key_from_bytes(key_part, self._integer_keys),
            "start": start,
            "end": end,
            "final": end + self._lateness_ms <= watermark_ms,
            "value": self._decode(raw),
        }


def _behind(after: bytes | None, lower: bytes) -> bytes:
    """Smallest key greater than `after`, at least `lower`."""
    return lower if after is None else max(lower, after + b"\0")
