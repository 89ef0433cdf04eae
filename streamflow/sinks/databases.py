"""The databases that rows are written to: SQLite and PostgreSQL, and what their errors say.

a row is at fault     a constraint, a type, a length, a trigger that raises     the row is put aside, others go in
refused               no table, no column, no permission, read only             somebody has to mend the database
away                  no answer, busy, disk full, cut off                       tried again
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from streamflow.errors import SettingsError
from streamflow.model.schema import FieldType

#: How long SQLite waits for another writer, seconds.
_BUSY_S = 30.0
#: PostgreSQL ends a transaction whose owner says nothing for this long (a worker that stands still, a cut line), as its
#: successor needs the row that it has locked; and how long one waits for such a lock. Seconds.
_SILENT_S, _LOCK_S = 10, 10
#: Primary result codes of SQLite.
_ROW_CODES = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
_AWAY_CODES = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL,
)  # fmt: skip
#: Classes of SQLSTATE: data, integrity, what a trigger raises, a view's check, a row too large for an index.
_ROW_STATES = ("22", "23", "P0", "44", "54")
#: The end of a transaction that was silent for too long.
_SILENT_STATE = "25P03"


class Fault(StrEnum):
    """Who is to blame for an error, see above."""

    ROW = "row"
    REFUSED = "refused"
    AWAY = "away"


class Database(Protocol):
    """A connection. `types`: of columns. mark: placeholder of a value. lock: held while tables are made.

    at_once: lets constraints be judged with each statement that were to be judged at the end of the transaction.
    """

    types: ClassVar[dict[FieldType, str]]
    mark: str
    lock: str
    at_once: str

    def transaction(self) -> Any: ...
    def savepoint(self) -> Any: ...
    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]: ...
    def run_many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None: ...
    def fault(self, error: Exception) -> Fault: ...
    def close(self) -> None: ...


class _Sqlite:
    types: ClassVar[dict[FieldType, str]] = {
        FieldType.STR: "TEXT", FieldType.INT: "INTEGER", FieldType.FLOAT: "REAL", FieldType.BOOL: "INTEGER",
        FieldType.TIMESTAMP: "INTEGER", FieldType.JSON: "TEXT",
    }  # fmt: skip
    mark = "?"
    lock = "SELECT 1"  # BEGIN IMMEDIATE has it
    at_once = "SELECT 1"  # its foreign keys are off

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a trigger may have ended it
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """All or nothing, within a transaction."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except Exception as error:
            # A full disk, or a trigger, may have ended the whole transaction: what comes next would be outside of it.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            elif self.fault(error) is Fault.ROW:
                raise sqlite3.OperationalError(f"a row ended the whole transaction: {error}") from error
            raise
        self._connection.execute("RELEASE part")

    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]:
        """(rows, how many were changed)."""
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall(), cursor.rowcount

    def run_many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Once per row."""
        self._connection.executemany(statement, rows)

    def fault(self, error: Exception) -> Fault:
        """Who is to blame."""
        if not isinstance(error, sqlite3.Error):
            return Fault.AWAY
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if code in _ROW_CODES or isinstance(error, sqlite3.DataError):
            return Fault.ROW
        return Fault.AWAY if code in _AWAY_CODES else Fault.REFUSED

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
    at_once = "SET CONSTRAINTS ALL IMMEDIATE"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise SettingsError(
                "psycopg is not installed, for PostgreSQL: pip install 'streamflow[postgres]'"
            ) from error
        self._psycopg: Any = psycopg
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
        self._connection.execute(f"SET idle_in_transaction_session_timeout = '{_SILENT_S}s'")
        self._connection.execute(f"SET lock_timeout = '{_LOCK_S}s'")

    def transaction(self) -> Any:
        """All or nothing."""
        return self._connection.transaction()

    def savepoint(self) -> Any:
        """All or nothing, within a transaction."""
        return self._connection.transaction()

    def run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[Any], int]:
        """(rows, how many were changed)."""
        cursor = self._connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else [], cursor.rowcount

    def run_many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Once per row, sent together."""
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def fault(self, error: Exception) -> Fault:
        """Who is to blame."""
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith(_ROW_STATES) or isinstance(error, self._psycopg.DataError):
            return Fault.ROW
        away = self._psycopg.OperationalError | self._psycopg.InterfaceError
        refused = isinstance(error, self._psycopg.Error) and not isinstance(error, away)
        return Fault.REFUSED if refused and state != _SILENT_STATE else Fault.AWAY

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def connect(variable: str) -> Database:
    """A connection to where an environment variable says. Raises SettingsError."""
    url = os.environ.get(variable, "")
    if url.startswith("sqlite:///"):
        return _Sqlite(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return _Postgres(url)
    what = "is not set" if not url else "is no URL of a database"
    raise SettingsError(f"{variable} {what}: sqlite:///file.db, or postgresql://user@host/database")
