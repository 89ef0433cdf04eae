"""Two tables of one task, side by side. Keeps nothing of its own: both tables have what it needs."""

from typing import Any

from streamflow.engine.versioned_table import VersionedTable
from streamflow.model.wire import absent_row
from streamflow.nodes.join_operators import TablePair


class PairedTables:
    """Gives the result of a key whose row in one of the tables has just changed."""

    def __init__(self, pair: TablePair, left: VersionedTable, right: VersionedTable) -> None:
        self._tables = left, right
        self._alone = pair.alone
        self._absent = absent_row(pair.ports[0]), absent_row(pair.ports[1])

    def changed(self, port: int, key: Any) -> tuple[int, Any, Any, bool] | None:
        """(event time, left, right, deleted) after table `port` took a row of `key`; None: no result before or after.

        A result that is gone is told with the rows that it had. The time is that of the newer side, so that the results
        of a key never go back in time, and a table of them has the last one.
        """
        now = [table.current(key) for table in self._tables]
        time_ms = max(table.newest_ms(key) for table in self._tables)
        if self._is_result(now):
            return time_ms, *self._filled(now), False
        now[port] = self._tables[port].before
        return (time_ms, *self._filled(now), True) if self._is_result(now) else None

    def _is_result(self, rows: list[Any]) -> bool:
        left, right = rows
        if left is None:
            return right is not None and self._alone[1]
        return right is not None or self._alone[0]

    def _filled(self, rows: list[Any]) -> tuple[Any, Any]:
        left, right = (self._absent[port] if row is None else row for port, row in enumerate(rows))
        return left, right
