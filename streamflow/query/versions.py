"""Reads tables of versions, rows that wait for one, and rows that wait for the other branches of their key."""

from collections.abc import Iterator
from typing import Any

import msgspec

from streamflow.model.schema import Schema
from streamflow.model.wire import kept_type
from streamflow.nodes.join_operators import Combine, VersionLookup
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import KeyedReader, TableReader, behind
from streamflow.query.request import RowState, TableQuery
from streamflow.state.keys import START_BYTES, pane_prefix
from streamflow.state.store import Store

_HEAD_BYTES = START_BYTES + 8


class VersionsReader(KeyedReader):
    """The newest row of every key that was not deleted. names: of the fields that are shown."""

    def __init__(self, table: TablePlan, kept: Schema, names: tuple[str, ...]) -> None:
        row: Any = kept_type(kept)
        decode = msgspec.json.Decoder(list[row]).decode
        super().__init__(table, lambda raw: _fields(decode(raw)[-1], names))

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        for stored, row in super()._rows(store, watermark_ms, query):
            if row is None or row["value"] is not None:
                yield stored, row


class HeldReader(TableReader):
    """Rows that wait for the table's watermark, by time. `start` and `end` are their time."""

    def __init__(self, table: TablePlan, lookup: VersionLookup) -> None:
        super().__init__(table)
        self._decode, self._names = msgspec.json.Decoder(kept_type(lookup.ports[0])).decode, lookup.ports[0].names

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        if query.state is RowState.FINAL:
            return
        lower = b"" if query.from_ms is None else pane_prefix(query.from_ms)
        upper = None if query.to_ms is None else pane_prefix(query.to_ms)
        for stored, raw in store.scan(self._table.name, behind(query.after, lower), upper):
            if query.key is None or stored[_HEAD_BYTES:] == query.key:
                yield stored, self.shown(stored, raw, watermark_ms)[0]

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """The key."""
        return None, store_key[_HEAD_BYTES:]

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """One row."""
        row = self._decode(raw)
        time, fields = row._event_time_ms, {name: getattr(row, name) for name in self._names}
        return [self._row(store_key[_HEAD_BYTES:], time, time, False, fields)]


class CombiningReader(KeyedReader):
    """The rows of every key that wait, by the names of their inputs."""

    def __init__(self, table: TablePlan, combine: Combine) -> None:
        self._combine = combine
        self._split = msgspec.json.Decoder(list[tuple[int, msgspec.Raw]]).decode
        self._rows_of = [msgspec.json.Decoder(kept_type(schema)).decode for schema in combine.ports]
        super().__init__(table, self._waiting)

    def _waiting(self, raw: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for port, each in self._split(raw):
            row = _fields(self._rows_of[port](each), self._combine.ports[port].names)
            found.setdefault(self._combine.names[port], []).append(row)
        return found


def _fields(row: Any, names: tuple[str, ...]) -> Any:
    return None if row._flag else {name: getattr(row, name) for name in names}
