"""Rows in a table of SQLite or PostgreSQL, each once.

A batch is one transaction of the database: its rows, and the offset behind them in `streamflow_positions`, which is
moved on only from where this owner left it. So a batch is there whole or not at all, what was there before a crash is
found by its position, and an owner that was replaced meanwhile changes nothing. `began`: where Kafka was when the batch
was written; Kafka behind that is another feed of the same name.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import msgspec

from streamflow.errors import SettingsError, SinkFailed, SinkRefused, StateMismatch, TransactionFailed
from streamflow.model.schema import FieldType, Schema
from streamflow.sinks.target import SqlTarget

POSITIONS = "streamflow_positions"
_INSERT = f"INSERT INTO {POSITIONS} VALUES"
#: Attempts while the database does not answer, and the pause before the second; each pause is twice the one before.
ATTEMPTS, PAUSE_S = 6, 0.25
_BUSY_S = 30.0


class _Database(Protocol):
    """A connection. `types`: of columns. mark: placeholder of a value. lock: held while tables are made."""

    types: ClassVar[dict[FieldType, str]]
    mark: str
    lock: str

    def transaction(self) -> Any: ...
    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]: ...
    def run_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None: ...
    def refused(self, error: Exception) -> bool: ...
    def close(self) -> None: ...


class _Sqlite:
    types: ClassVar[dict[FieldType, str]] = {
        FieldType.STR: "TEXT", FieldType.INT: "INTEGER", FieldType.FLOAT: "REAL", FieldType.BOOL: "INTEGER",
        FieldType.TIMESTAMP: "INTEGER", FieldType.JSON: "TEXT",
    }  # fmt: skip
    mark = "?"
    lock = "SELECT 1"  # BEGIN IMMEDIATE has it

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]:
        """(rows, how many were changed)."""
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall(), cursor.rowcount

    def run_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Once per row."""
        self._connection.executemany(statement, rows)

    def refused(self, error: Exception) -> bool:
        """Whether the database will refuse the same rows again."""
        busy = isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))
        return isinstance(error, sqlite3.Error) and not busy

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class _Postgres:
    types: ClassVar[dict[FieldType, str]] = {
        FieldType.STR: "text", FieldType.INT: "bigint", FieldType.FLOAT: "double precision", FieldType.BOOL: "boolean",
        FieldType.TIMESTAMP: "bigint", FieldType.JSON: "jsonb",
    }  # fmt: skip
    mark = "%s"
    lock = "SELECT pg_advisory_xact_lock(7316)"  # tables that are made twice at once fail

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise SettingsError(
                "psycopg is not installed, for PostgreSQL: pip install 'streamflow[postgres]'"
            ) from error
        self._psycopg: Any = psycopg
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)

    def transaction(self) -> Any:
        """All or nothing."""
        return self._connection.transaction()

    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]:
        """(rows, how many were changed)."""
        cursor = self._connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else [], cursor.rowcount

    def run_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Once per row, sent together."""
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def refused(self, error: Exception) -> bool:
        """Whether the database will refuse the same rows again."""
        return isinstance(error, self._psycopg.Error) and not isinstance(
            error, self._psycopg.OperationalError | self._psycopg.InterfaceError
        )

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def _connect(variable: str) -> _Database:
    """A connection to where an environment variable says. Raises SettingsError."""
    url = os.environ.get(variable, "")
    if url.startswith("sqlite:///"):
        return _Sqlite(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return _Postgres(url)
    what = "is not set" if not url else "is no URL of a database"
    raise SettingsError(f"{variable} {what}: sqlite:///file.db, or postgresql://user@host/database")


def _quoted(name: str) -> str:
    """Names are checked when the topology is: letters, digits, underscores."""
    return f'"{name}"'


class SqlDelivery:
    """The rows of one partition. Statements are made once."""

    def __init__(self, target: SqlTarget, schema: Schema, name: str, partition: int, committed: int) -> None:
        self._target, self._schema, self._place = target, schema, (name, partition)
        self._rows: list[Any] = []
        self._database: _Database | None = None
        self._known = self._start = self.done_until = committed
        self._attempt(lambda: self._open(committed), 2)  # the loop waits for it

    def _open(self, committed: int) -> None:
        database = self._connected()
        with database.transaction():
            database.run(database.lock)
            database.run(
                f"CREATE TABLE IF NOT EXISTS {POSITIONS} "
                "(sink varchar(300) NOT NULL, part integer NOT NULL, began bigint NOT NULL, next bigint NOT NULL, "
                "PRIMARY KEY (sink, part))"
            )
            if self._target.create:
                database.run(self._create())
        marks = ", ".join([database.mark] * 4)
        database.run(f"{_INSERT} ({marks}) ON CONFLICT (sink, part) DO NOTHING", (*self._place, committed, committed))
        ((began, self._known),), _ = database.run(self._where("SELECT began, next FROM"), self._place)
        if began > committed:
            raise StateMismatch(
                f"sink {self._place[0]}/{self._place[1]} is at {self._known} in the database, its feed in Kafka at "
                f"{committed}: after a reset delete its rows in {POSITIONS} and in {self._target.table}"
            )
        self.done_until = max(committed, self._known)

    def _where(self, what: str, then: str = "") -> str:
        assert self._database is not None
        mark = self._database.mark
        return f"{what} {POSITIONS}{then} WHERE sink = {mark} AND part = {mark}"

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

    def _connected(self) -> _Database:
        if self._database is None:
            self._database = _connect(self._target.url_variable)
        return self._database

    def _attempt(self, work: Callable[[], None], attempts: int = ATTEMPTS) -> None:
        """Do it, again while the database does not answer. Raises SinkFailed, SinkRefused."""
        for attempt in range(attempts):
            if attempt:
                time.sleep(PAUSE_S * 2 ** (attempt - 1))
            try:
                work()
            except (SettingsError, TransactionFailed, StateMismatch):
                raise
            except Exception as error:
                if self._database is not None and self._database.refused(error):
                    place = f"table {self._target.table} of sink {self._place[0]}"
                    raise SinkRefused(
                        f"{place} does not take the rows: {error}; mend the table, or filter them"
                    ) from error
                self.close()
                failed = error
            else:
                return
        raise SinkFailed(f"the database of sink {self._place[0]} does not answer: {failed}") from failed

    def add(self, row: Any) -> None:
        """See delivery.py."""
        self._rows.append(row)

    def take(self, end: int) -> "_SqlBatch | None":
        """See delivery.py."""
        start, self._start = self._start, end
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        return _SqlBatch(self, rows, start, end)

    def write(self, rows: list[Any], start: int, end: int) -> None:
        """One transaction of the database. Raises SinkFailed, SinkRefused, TransactionFailed."""
        texts = [each.type is FieldType.JSON for each in self._schema.fields]
        names = self._schema.names
        values = [
            tuple(_value(getattr(row, name), text) for name, text in zip(names, texts, strict=True)) for row in rows
        ]
        self._attempt(lambda: self._write(values, start, end))
        self._known = end

    def _write(self, values: list[tuple[Any, ...]], start: int, end: int) -> None:
        database = self._connected()
        mark = database.mark
        ((found,),), _ = database.run(self._where("SELECT next FROM"), self._place)
        if found == end:
            return  # an attempt before this one was committed, and only its answer was lost
        with database.transaction():
            move = self._where("UPDATE", f" SET began = {mark}, next = {mark}") + f" AND next = {mark}"
            _, moved = database.run(move, (start, end, *self._place, self._known))
            if moved != 1:
                raise TransactionFailed(f"sink {self._place[0]}/{self._place[1]} was moved on by another owner")
            database.run_many(self._insert(), values)

    def close(self) -> None:
        """See delivery.py."""
        if self._database is not None:
            database, self._database = self._database, None
            database.close()


class _SqlBatch:
    """Rows of one transaction of the database."""

    def __init__(self, delivery: SqlDelivery, rows: list[Any], start: int, end: int) -> None:
        self._delivery, self._rows, self._start, self._end = delivery, rows, start, end

    def prepare(self) -> None:
        """They are there, and so is the position that says so."""
        self._delivery.write(self._rows, self._start, self._end)

    def settle(self) -> None:
        """Nothing is left to do."""


def _value(value: Any, as_text: bool) -> Any:
    return msgspec.json.encode(value).decode() if as_text and value is not None else value
