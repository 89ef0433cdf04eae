"""The two ends of a join by foreign key: who tells about rows of the left table, and who settles what is answered.

Both are beside a VersionedTable and hold no rows of their own.
"""

from collections.abc import Iterator
from copy import copy
from operator import attrgetter
from typing import Any

from streamflow.engine.keyed_table import KeyedTable
from streamflow.engine.versioned_table import VersionedTable
from streamflow.model.schema import Schema
from streamflow.model.wire import absent_row
from streamflow.nodes.foreign_operators import Change, Settle, Subscribe
from streamflow.state.keys import checked_key_bytes

#: (key of the record, what is sent).
Message = tuple[Any, tuple[Any, ...]]


def values_of(schema: Schema) -> Any:
    """A function from a row to the tuple of its fields."""
    names = schema.names
    return attrgetter(*names) if len(names) > 1 else lambda row: (getattr(row, names[0]),)


class Subscriptions:
    """Makes the messages about changes of the left table. `counter` counts the versions under the key None."""

    def __init__(self, subscribe: Subscribe, counter: KeyedTable, left: VersionedTable) -> None:
        self._counter, self._left = counter, left
        self._evaluate = subscribe.foreign.evaluate()
        self._values = values_of(subscribe.row)
        self._error: Exception | None = None

    def told(self, key: Any) -> Iterator[Message]:
        """Messages after the left table took a row of `key` that is its newest."""
        before, now = self._left.before, self._left.current(key)
        if before is None and now is None:
            return
        old = None if before is None else self._foreign(before)
        self._error = None  # told when the row came
        foreign = old if now is None else self._foreign(now)
        version = self._counter.next(None)
        if now is None:
            yield self._message(Change.GONE, foreign, key, version, self._left.newest_ms(key), before)
            return
        if old is not None and old != foreign:
            yield self._message(Change.MOVED, old, key, version, now._event_time_ms, before)
        yield self._message(Change.IS, foreign, key, version, now._event_time_ms, now)

    def _message(self, change: Change, foreign: Any, key: Any, version: int, time_ms: int, row: Any) -> Message:
        return foreign, (time_ms, foreign, key, version, int(change), *self._values(row))

    def _foreign(self, row: Any) -> Any:
        """The foreign key; None also when there can be none, for the same row always."""
        try:
            foreign = self._evaluate(row)
            if foreign is not None:
                checked_key_bytes(foreign)
        except Exception as error:  # whatever an expression raises makes a dead letter, by `check`
            self._error = error
            return None
        return foreign

    def check(self) -> None:
        """Raise what was wrong with the row that was told about last."""
        error, self._error = self._error, None
        if error is not None:
            raise error


class SettledTable:
    """Results by the key of the left table. `table` keeps one version of each, deleted ones too."""

    def __init__(self, settle: Settle, table: VersionedTable) -> None:
        self._table = table
        self._nothing = absent_row(settle.kept)

    def settle(self, key: Any, answer: Any) -> tuple[int, Any] | None:
        """(event time, row) of what an answer brings; of a result that is gone the row that it had; None: nothing."""
        last = self._table.newest(key)
        if last is not None:
            if answer._version < last._version:
                return None
            answer._event_time_ms = max(answer._event_time_ms, last._event_time_ms)
        time_ms, told = answer._event_time_ms, answer
        if answer._flag:
            told = None if last is None or last._flag else last
            answer = self._tombstone(answer)
        self._table.put(key, time_ms, answer)
        return None if told is None else (time_ms, told)

    def _tombstone(self, answer: Any) -> Any:
        made = copy(self._nothing)
        made._event_time_ms, made._flag, made._version = answer._event_time_ms, True, answer._version
        return made
