"""Reads the rows of the left table of a join by foreign key, in the task of the key that they name."""

from collections.abc import Iterator
from typing import Any

import msgspec

from streamflow.model.schema import FieldType
from streamflow.model.wire import kept_type
from streamflow.nodes.foreign_operators import KEY, Answer
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import TableReader, behind
from streamflow.query.request import RowState, TableQuery
from streamflow.state.keys import AFTER_TEXT, key_from_bytes, pair_prefix, split_pair
from streamflow.state.store import Store


class AskedReader(TableReader):
    """`key` is the foreign key, `value` has the left key (`by`) and its row."""

    def __init__(self, table: TablePlan, answer: Answer) -> None:
        super().__init__(table)
        self._decode, self._names = msgspec.json.Decoder(kept_type(answer.kept)).decode, answer.row.names
        left_key = answer.ports[0].field(KEY)
        self._integer_left = left_key is not None and left_key.type is FieldType.INT

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        if query.state is RowState.FINAL:
            return
        first = b"" if query.key is None else pair_prefix(query.key)
        last = None if query.key is None else first + AFTER_TEXT
        for stored, raw in store.scan(self._table.name, behind(query.after, first), last):
            yield stored, self.shown(stored, raw, watermark_ms)[0]

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """The foreign key."""
        return None, split_pair(store_key)[0]

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """One row."""
        foreign, key = split_pair(store_key)
        row = self._decode(raw)
        value = {
            "by": key_from_bytes(key, self._integer_left),
            "row": {name: getattr(row, name) for name in self._names},
        }
        return [{"key": key_from_bytes(foreign, self._integer_keys), "final": False, "value": value}]
