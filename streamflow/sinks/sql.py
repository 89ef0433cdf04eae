"""Rows in a table of SQLite or PostgreSQL, each once.

A batch is one transaction of the database: its rows, and the offset behind them in `streamflow_positions`, which is
moved on only from where this owner left it. So a batch is there whole or not at all, what was there before a crash is
found by its position, and an owner that was replaced meanwhile changes nothing. `began`: where Kafka was when the batch
was written; Kafka behind that is another feed of the same name.

A row that the database refuses is left out, by halves around savepoints, and noted in `streamflow_refused` in the same
transaction: its dead letter goes with Kafka's commit, and whoever opens the partition after a crash between the two
writes it then. Notes are deleted when Kafka is behind them.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from streamflow.errors import (
    CallFailed,
    ErrorClass,
    SettingsError,
    SinkFailed,
    SinkRefused,
    StateMismatch,
    TransactionFailed,
)
from streamflow.model.chunk import Chunk
from streamflow.model.schema import FieldType, Schema
from streamflow.sinks.databases import Database, Fault, connect
from streamflow.sinks.delivery import Refusal
from streamflow.sinks.target import SqlTarget

POSITIONS = "streamflow_positions"
REFUSED = "streamflow_refused"
_PLACE_COLUMNS = "sink varchar(300) NOT NULL, part integer NOT NULL"
_INSERT_POSITION, _INSERT_NOTE = f"INSERT INTO {POSITIONS} VALUES", f"INSERT INTO {REFUSED} VALUES"
#: Attempts while the database does not answer, and the pause before the second; each pause is twice the one before.
ATTEMPTS, PAUSE_S = 6, 0.25
#: Of the database's words about a row.
_REASON_MAX_CHARS = 1_000


def _quoted(name: str) -> str:
    """Names are checked when the topology is: letters, digits, underscores."""
    return f'"{name}"'


_T = TypeVar("_T")
#: A row, and where its record is.
_Row = tuple[Any, Chunk, int]


class SqlDelivery:
    """The rows of one partition. Statements are made once."""

    def __init__(self, target: SqlTarget, schema: Schema, name: str, partition: int, committed: int) -> None:
        self._target, self._schema, self._place = target, schema, (name, partition)
        self._rows: list[_Row] = []
        self._noted: dict[int, str] = {}
        self._database: Database | None = None
        self._known = self._start = self.done_until = committed
        self._attempt(lambda: self._open(committed), 2)  # the loop waits for it

    def _open(self, committed: int) -> None:
        database = self._connected()
        with database.transaction():
            database.run(database.lock)
            database.run(
                f"CREATE TABLE IF NOT EXISTS {POSITIONS} "
                f"({_PLACE_COLUMNS}, began bigint NOT NULL, next bigint NOT NULL, PRIMARY KEY (sink, part))"
            )
            database.run(
                f"CREATE TABLE IF NOT EXISTS {REFUSED} "
                f"({_PLACE_COLUMNS}, place bigint NOT NULL, reason text NOT NULL, PRIMARY KEY (sink, part, place))"
            )
            if self._target.create:
                database.run(self._create())
        marks = ", ".join([database.mark] * 4)
        once = f"{_INSERT_POSITION} ({marks}) ON CONFLICT (sink, part) DO NOTHING"
        database.run(once, (*self._place, committed, committed))
        with database.transaction():
            database.run(self._where("UPDATE", " SET next = next"), self._place)  # whoever is writing ends first
            ((began, self._known),), _ = database.run(self._where("SELECT began, next FROM"), self._place)
            outdated = f" AND (place < {database.mark} OR place >= {database.mark})"
            database.run(self._where("DELETE FROM", table=REFUSED) + outdated, (*self._place, committed, self._known))
            found, _ = database.run(self._where("SELECT place, reason FROM", table=REFUSED), self._place)
            self._noted = dict(found)
        if began > committed:
            raise StateMismatch(
                f"sink {self._place[0]}/{self._place[1]} is at {self._known} in the database, its feed in Kafka at "
                f"{committed}: after a reset delete its rows in {POSITIONS} and in {self._target.table}"
            )
        self.done_until = max(committed, self._known)

    def _where(self, what: str, then: str = "", table: str = POSITIONS) -> str:
        mark = self._connected().mark
        return f"{what} {table}{then} WHERE sink = {mark} AND part = {mark}"

    def refusal(self, offset: int) -> CallFailed | None:
        """See delivery.py."""
        reason = self._noted.get(offset)
        return None if reason is None else self._refused(reason)

    def _refused(self, reason: str) -> CallFailed:
        error = CallFailed("refused", reason, ErrorClass.PERMANENT)
        error.details = (("sf-target", self._target.table.encode()),)
        return error

    def _create(self) -> str:
        types = self._connected().types
        columns = [
            f"{_quoted(each.name)} {types[each.type]}{'' if each.nullable else ' NOT NULL'}"
            for each in self._schema.fields
        ]
        if self._target.key:
            columns.append(f"PRIMARY KEY ({', '.join(map(_quoted, self._target.key))})")
        return f"CREATE TABLE IF NOT EXISTS {_quoted(self._target.table)} ({', '.join(columns)})"

    def _insert(self) -> str:
        names = [_quoted(name) for name in self._schema.names]
        text = f"INSERT INTO {_quoted(self._target.table)} ({', '.join(names)}) "
        text += f"VALUES ({', '.join([self._connected().mark] * len(names))})"
        if self._target.key:
            key = [_quoted(name) for name in self._target.key]
            rest = [f"{name} = excluded.{name}" for name in names if name not in key]
            text += f" ON CONFLICT ({', '.join(key)}) DO " + (f"UPDATE SET {', '.join(rest)}" if rest else "NOTHING")
        return text

    def _connected(self) -> Database:
        if self._database is None:
            self._database = connect(self._target.url_variable)
        return self._database

    def _attempt(self, work: Callable[[], _T], attempts: int = ATTEMPTS) -> _T:
        """Do it, again while the database does not answer. Raises SinkFailed, SinkRefused."""
        for attempt in range(attempts):
            if attempt:
                time.sleep(PAUSE_S * 2 ** (attempt - 1))
            try:
                return work()
            except (SettingsError, TransactionFailed, StateMismatch):
                raise
            except Exception as error:
                if self._database is not None and self._database.fault(error) is not Fault.AWAY:
                    place = f"table {self._target.table} of sink {self._place[0]}"
                    raise SinkRefused(
                        f"{place} cannot be written: {error}; mend the table or what may be done"
                    ) from error
                self.close()
                failed = error
        raise SinkFailed(f"the database of sink {self._place[0]} does not answer: {failed}") from failed

    def add(self, row: Any, chunk: Chunk, index: int) -> None:
        """See delivery.py."""
        self._rows.append((row, chunk, index))

    def take(self, end: int) -> "_SqlBatch | None":
        """See delivery.py."""
        start, self._start = self._start, end
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        return _SqlBatch(self, rows, start, end)

    def write(self, rows: list[_Row], start: int, end: int) -> list[Refusal]:
        """One transaction of the database; gives the rows that it refused.

        Raises SinkFailed, SinkRefused, TransactionFailed.
        """
        texts = [each.type is FieldType.JSON for each in self._schema.fields]
        names = self._schema.names
        values = [
            tuple(_value(getattr(row, name), text) for name, text in zip(names, texts, strict=True))
            for row, _, _ in rows
        ]
        offsets = [chunk.offset_at(index) for _, chunk, index in rows]
        noted = self._attempt(lambda: self._write(values, offsets, start, end))
        self._known = end
        self._noted = {place: reason for place, reason in self._noted.items() if place >= start} | noted
        return [
            Refusal(chunk, index, self._refused(noted[offset]))
            for (_, chunk, index), offset in zip(rows if noted else (), offsets, strict=False)
            if offset in noted
        ]

    def _write(self, values: list[tuple[Any, ...]], offsets: list[int], start: int, end: int) -> dict[int, str]:
        """Gives why a row was refused, by offset."""
        database = self._connected()
        ((found,),), _ = database.run(self._where("SELECT next FROM"), self._place)
        if found == end:  # an attempt before this one was committed, and only its answer was lost
            noted, _ = database.run(self._where("SELECT place, reason FROM", table=REFUSED), self._place)
            return {place: reason for place, reason in noted if place >= start}
        try:
            with database.transaction():
                self._move(database, start, end)
                database.run_many(self._insert(), values)
        except Exception as error:
            if database.fault(error) is not Fault.ROW:
                raise
        else:
            return {}
        with database.transaction():
            self._move(database, start, end)
            database.run(database.at_once)
            refused = {offsets[place]: reason for place, reason in self._sift(database, values).items()}
            marks = ", ".join([database.mark] * 4)
            notes = [(*self._place, offset, reason) for offset, reason in refused.items()]
            database.run_many(f"{_INSERT_NOTE} ({marks})", notes)
        return refused

    def _move(self, database: Database, start: int, end: int) -> None:
        """First in the transaction: whoever comes second waits here, and finds that it was moved."""
        mark = database.mark
        move = self._where("UPDATE", f" SET began = {mark}, next = {mark}") + f" AND next = {mark}"
        _, moved = database.run(move, (start, end, *self._place, self._known))
        if moved != 1:
            raise TransactionFailed(f"sink {self._place[0]}/{self._place[1]} was moved on by another owner")
        if self._noted:
            database.run(self._where("DELETE FROM", table=REFUSED) + f" AND place < {mark}", (*self._place, start))

    def _sift(self, database: Database, values: list[tuple[Any, ...]]) -> dict[int, str]:
        """Write all that are taken, in their order; gives why each of the others is not, by place."""
        refused: dict[int, str] = {}
        parts = [(0, len(values))]
        while parts:
            start, stop = parts.pop()
            try:
                with database.savepoint():
                    database.run_many(self._insert(), values[start:stop])
            except Exception as error:
                if database.fault(error) is not Fault.ROW:
                    raise
                if stop - start == 1:
                    refused[start] = str(error).replace("\x00", "")[:_REASON_MAX_CHARS]
                else:
                    middle = (start + stop) // 2
                    parts += [(middle, stop), (start, middle)]
        return refused

    def close(self) -> None:
        """See delivery.py."""
        if self._database is not None:
            database, self._database = self._database, None
            database.close()


class _SqlBatch:
    """Rows of one transaction of the database."""

    def __init__(self, delivery: SqlDelivery, rows: list[_Row], start: int, end: int) -> None:
        self._delivery, self._rows, self._start, self._end = delivery, rows, start, end

    def prepare(self) -> list[Refusal]:
        """They are there, and so is the position that says so."""
        return self._delivery.write(self._rows, self._start, self._end)

    def settle(self) -> None:
        """Nothing is left to do."""


def _value(value: Any, as_text: bool) -> Any:
    return msgspec.json.encode(value).decode() if as_text and value is not None else value
