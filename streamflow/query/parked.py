"""Reads the keys that are parked; what waits behind them is counted, not shown."""

from collections.abc import Iterator

import msgspec

from streamflow.model.parking import Head
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import KeyedReader, behind
from streamflow.query.request import TableQuery
from streamflow.state.keys import AFTER_TEXT
from streamflow.state.store import Store


class ParkedReader(KeyedReader):
    """One row per parked key."""

    is_row_by_row = False

    def __init__(self, table: TablePlan) -> None:
        decode = msgspec.msgpack.Decoder(Head).decode
        super().__init__(table, lambda raw: decode(raw).view())

    def stored(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes]]:
        """Rows of one key or of all; what waits stands behind all of them."""
        if query.key is not None:
            yield from super().stored(store, query)
        else:
            yield from store.scan(self._table.name, behind(query.after, b""), AFTER_TEXT)
