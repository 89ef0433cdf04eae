"""Rows of the left table that name a key of the right, in the task of that key: a write-back cache over the store.

    message about a left row ──► kept under its foreign key, answered with the right row that there is
    the right row changes    ──► an answer for every left row of the key

Memory: MAX_LIVE rows. Beyond it keys without a change since the last checkpoint are left to the store, and read from
there by a scan.

Store: | length and bytes of the foreign key | left key | -> kept row with its version.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from streamflow.engine.fold_table import MAX_LIVE
from streamflow.engine.row_size import check_of
from streamflow.engine.subscriptions import Message, values_of
from streamflow.engine.versioned_table import VersionedTable
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.model.wire import kept_type
from streamflow.nodes.foreign_operators import FOREIGN, KEY, Answer, Change
from streamflow.state.keys import AFTER_TEXT, checked_key_bytes, key_from_bytes, pair_prefix, split_pair
from streamflow.state.store import Change as Stored
from streamflow.state.store import Store, TableChanges


class AskedTable:
    """State of an Answer in one task, whose right table is `right`."""

    def __init__(self, answer: Answer, store: Store, right: VersionedTable) -> None:
        self.name = answer.table
        self._answer, self._store, self._right = answer, store, right
        keys = map(answer.ports[0].field, (FOREIGN, KEY))
        self._integer_keys = [field is not None and field.type is FieldType.INT for field in keys]
        self._type: Any = kept_type(answer.kept)
        self._decode, self._encode = msgspec.json.Decoder(self._type).decode, msgspec.json.Encoder().encode
        self._check = check_of(answer.kept)
        self._left_values, self._right_values = values_of(answer.row), values_of(answer.ports[1])
        self._no_right = (None,) * len(answer.ports[1].names)
        self._live: dict[Any, dict[Any, Any]] = {}
        self._dirty: dict[Any, dict[Any, None]] = {}
        self._count = 0
        self._complete = True
        self._error: EventError | None = None
        self._load()

    def _load(self) -> None:
        """What the store has, as far as memory goes."""
        for stored, raw in self._store.scan(self.name):
            foreign, key = self._split(stored)
            if self._count >= MAX_LIVE and foreign not in self._live:
                self._complete = False
                return
            self._live.setdefault(foreign, {})[key] = self._decode(raw)
            self._count += 1

    def _split(self, stored: bytes) -> tuple[Any, Any]:
        foreign, key = split_pair(stored)
        return key_from_bytes(foreign, self._integer_keys[0]), key_from_bytes(key, self._integer_keys[1])

    def asked(self, foreign: Any, message: Any) -> Iterator[Message]:
        """The answer to a message about a left row."""
        key, version, change = message._key, message._version, message._change
        time_ms, values = message._event_time_ms, self._left_values(message)
        if foreign is None:
            holds = change == Change.IS and self._answer.alone
            yield key, (time_ms, key, version, holds, *values, *self._no_right)
            return
        rows = self._rows(foreign)
        if change != Change.IS:
            self._remove(foreign, key, rows)
            if change == Change.GONE:
                yield key, (time_ms, key, version, False, *values, *self._no_right)
            return
        row = self._type(time_ms, False, version, *values)
        self._error = self._refusal(foreign, key, rows, row)
        if self._error is None:
            self._count += key not in rows
            rows[key] = row
            self._live[foreign] = rows
            self._dirty.setdefault(foreign, {})[key] = None
            yield self._answer_of(foreign, key, row, self._right.current(foreign))
        else:
            self._remove(foreign, key, rows)
            yield key, (time_ms, key, version, False, *values, *self._no_right)

    def _refusal(self, foreign: Any, key: Any, rows: dict[Any, Any], row: Any) -> EventError | None:
        """Why a row cannot be kept."""
        if key not in rows and len(rows) >= self._answer.max_rows:
            message = f"{len(rows)} rows name the key {foreign!r}, max_rows allows no more"
            return EventError("too_many_rows", message)
        try:
            self._check(row)
        except EventError as error:
            return error
        return None

    def _remove(self, foreign: Any, key: Any, rows: dict[Any, Any]) -> None:
        if rows.pop(key, None) is not None:
            self._count -= 1
            self._dirty.setdefault(foreign, {})[key] = None

    def changed(self, foreign: Any) -> Iterator[Message]:
        """Answers after the right table took a row of `foreign` that is its newest."""
        now = self._right.current(foreign)
        if now is None and self._right.before is None:
            return
        for key, row in self._rows(foreign).items():
            yield self._answer_of(foreign, key, row, now)

    def _answer_of(self, foreign: Any, key: Any, row: Any, right: Any) -> Message:
        time_ms = max(row._event_time_ms, self._right.newest_ms(foreign))
        holds = right is not None or self._answer.alone
        values = self._no_right if right is None else self._right_values(right)
        return key, (time_ms, key, row._version, holds, *self._left_values(row), *values)

    def check(self) -> None:
        """Raise what was wrong with the row that was answered last."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _rows(self, foreign: Any) -> dict[Any, Any]:
        """Rows of a foreign key by left key."""
        rows = self._live.get(foreign)
        if rows is None:
            rows = {}
            if not self._complete:
                head = pair_prefix(checked_key_bytes(foreign))
                for stored, raw in self._store.scan(self.name, head, head + AFTER_TEXT):
                    rows[self._split(stored)[1]] = self._decode(raw)
                if rows:
                    self._live[foreign] = rows
                    self._count += len(rows)
        return rows

    def take_changes(self) -> TableChanges | None:
        """Rows that came, changed or went."""
        if not self._dirty:
            return None
        changes: list[Stored] = []
        for foreign, keys in self._dirty.items():
            rows, head = self._live.get(foreign, {}), pair_prefix(checked_key_bytes(foreign))
            for key in keys:
                row = rows.get(key)
                changes.append((head + checked_key_bytes(key), None if row is None else self._encode(row)))
            if not rows and self._complete:
                self._live.pop(foreign, None)
        self._dirty = {}
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Bound memory. Call only when everything taken is in the store."""
        if self._count <= MAX_LIVE:
            return
        self._live = {foreign: self._live[foreign] for foreign in self._dirty if foreign in self._live}
        self._count = sum(map(len, self._live.values()))
        self._complete = False
