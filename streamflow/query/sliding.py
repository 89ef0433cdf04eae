"""Reads overlapping windows: the store has their panes, a row of the answer is the merge of a key's panes."""

import heapq
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from streamflow.errors import InternalError
from streamflow.plan.plan import TablePlan
from streamflow.query import reader
from streamflow.query.reader import TableReader
from streamflow.query.request import RowState, TableQuery
from streamflow.state.keys import pane_prefix, split_window_key, window_key
from streamflow.state.store import Store
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.pane_rows import PaneRows
from streamflow.windows.sliding import Sliding


class SlidingReader(TableReader):
    """Rows of sliding windows, by start and key. Times in ms."""

    is_row_by_row = False

    def __init__(self, table: TablePlan, layout: AccumulatorLayout) -> None:
        super().__init__(table)
        assert isinstance(table.window, Sliding)
        self._layout, self._shape, self._rows_of = layout, table.window, PaneRows(layout)

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """A stored pane is a part of several rows."""
        raise InternalError(f"panes of {self._table.name!r} are shown merged only")

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        windows = 0
        for start in self._starts(store, query):
            end = start + self._shape.size_ms
            final = end + self._table.lateness_ms <= watermark_ms
            if query.state is RowState.FINAL and not final:
                return  # later ones are not final either
            if query.state is not RowState.OPEN or not final:
                windows += 1
                for key, value in self._window(store, start, query):
                    yield window_key(start, key), self._row(key, start, end, final, value)
            if windows >= reader.PANES_MAX:
                yield pane_prefix(start + 1), None
                return

    def _starts(self, store: Store, query: TableQuery) -> Iterator[int]:
        """Starts of the windows that hold a pane, ascending, from `query.after`'s on."""
        shape, lower = self._shape, query.from_ms
        if query.after is not None:
            after = split_window_key(query.after)[0]
            lower = after if lower is None else max(lower, after)
        pane = self._first_pane(store, lower)
        while pane is not None:
            end = shape.next_end(pane)  # of the first window that holds the pane
            while lower is not None and end - shape.size_ms < lower:
                end = shape.next_end(end)
            start = end - shape.size_ms
            if query.to_ms is not None and start >= query.to_ms:
                return
            pane = self._first_pane(store, start)
            if pane is not None and pane < end:
                yield start
                lower = start + 1
                pane = self._first_pane(store, lower)

    def _first_pane(self, store: Store, lower_ms: int | None) -> int | None:
        lower = b"" if lower_ms is None else pane_prefix(lower_ms)
        found = next(store.scan(self._table.name, lower), None)
        return None if found is None else split_window_key(found[0])[0]

    def _panes(self, start: int) -> Iterator[int]:
        pane, end = start, start + self._shape.size_ms
        while pane < end:
            yield pane
            pane = self._shape.pane_of(pane)[1]

    def _window(self, store: Store, start: int, query: TableQuery) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """(key, value) of a window, by key, behind the cursor."""
        name, after = self._table.name, None
        if query.after is not None and split_window_key(query.after)[0] == start:
            after = split_window_key(query.after)[1]
        if query.key is not None:
            raws = (store.get(name, window_key(pane, query.key)) for pane in self._panes(start))
            held = [part for raw in raws if raw is not None for part in self._rows_of.in_window(raw, start)]
            if held and (after is None or query.key > after):
                yield query.key, self._value(held)
            return
        scans = (self._pane(store, pane, after) for pane in self._panes(start))
        for key, group in groupby(heapq.merge(*scans, key=_key_of), key=_key_of):
            held = [part for _, raw in group for part in self._rows_of.in_window(raw, start)]
            if held:
                yield key, self._value(held)

    def _pane(self, store: Store, pane: int, after: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        lower = pane_prefix(pane) if after is None else window_key(pane, after) + b"\0"
        for stored, raw in store.scan(self._table.name, lower, pane_prefix(pane + 1)):
            yield split_window_key(stored)[1], raw

    def _value(self, held: list[Any]) -> dict[str, Any]:
        return self._layout.named(self._layout.merged(held))


def _key_of(row: tuple[bytes, bytes]) -> bytes:
    return row[0]
