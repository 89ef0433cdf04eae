"""Reads rows of joins that wait for partners: by stretch of time and key, as `engine/join_table.py` draws them.

A row is shown with its side, its fields and whether it has found a partner already; `start` is its own time, `end` the
last moment at which it may find one.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from streamflow.model.wire import kept_type
from streamflow.nodes.join_operators import Join
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import TableReader, behind
from streamflow.query.request import RowState, TableQuery
from streamflow.state.keys import START_BYTES, pane_prefix
from streamflow.state.store import Store

_SUFFIX_BYTES = 5


class WaitingReader(TableReader):
    """Rows of both sides."""

    def __init__(self, table: TablePlan, join: Join) -> None:
        super().__init__(table)
        self._join = join
        self._decode = [msgspec.json.Decoder(kept_type(schema)).decode for schema in join.ports]

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        if query.state is RowState.FINAL:
            return
        for stored, raw in self._candidates(store, query):
            if raw is None:
                yield stored, None
                return
            row = self.shown(stored, raw, watermark_ms)[0]
            time = row["start"]
            if (query.from_ms is None or time >= query.from_ms) and (query.to_ms is None or time < query.to_ms):
                yield stored, row

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """The key."""
        return None, store_key[START_BYTES:-_SUFFIX_BYTES]

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """One row of a side."""
        port = store_key[-_SUFFIX_BYTES] - 0x80
        row = self._decode[port](raw)
        time = row._event_time_ms
        fields = {name: getattr(row, name) for name in self._join.ports[port].names}
        value = {"side": ("left", "right")[port], "matched": row._flag, "row": fields}
        return [self._row(self.place(store_key)[1], time, time + self._join.reach_ms[port], False, value)]

    def _candidates(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        name, size = self._table.name, self._join.pane_ms
        first = b"" if query.from_ms is None else pane_prefix(query.from_ms - query.from_ms % size)
        last = None if query.to_ms is None else pane_prefix(query.to_ms)
        lower, key = behind(query.after, first), query.key
        if key is None:
            return store.scan(name, lower, last)

        def rows_of(start: int, lower: bytes) -> Iterator[tuple[bytes, bytes]]:
            prefix = pane_prefix(start) + key
            return store.scan(name, max(lower, prefix + b"\x80"), prefix + b"\x82")

        return self._parts_of_key(store, lower, last, rows_of)
