"""What a table query asks, and what it answers: rows, or a reason as a value."""

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamflow.errors import UserError

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000


class RowState(StrEnum):
    """Which rows of a windowed table: of open windows, of closed ones, or both as they are now."""

    OPEN = "open"
    FINAL = "final"
    LATEST = "latest"


class Reason(StrEnum):
    """Why a query has no answer. The web layer maps each to a status."""

    UNKNOWN_TABLE = "unknown_table"
    RESTORING = "restoring"
    NOT_ASSIGNED = "not_assigned"
    NOT_OWNER = "not_owner"
    OWNER_UNREACHABLE = "owner_unreachable"
    NOT_REFLECTED = "not_reflected"


@dataclass(frozen=True, slots=True)
class TableQuery:
    """Rows of one table.

    key: bytes of one key, None for all. from_ms, to_ms: window starts in [from, to). limit: 1 to 1,000 rows.
    after: store key of the last row of the page before.
    """

    key: bytes | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    state: RowState = RowState.LATEST
    limit: int = LIMIT_DEFAULT
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row with its store key, by which pages of several partitions are merged."""

    store_key: bytes
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one worker's partitions in store order, at most limit + 1: the one too many tells that there are more.

    until: when the read ended early, the store key up to which the partitions were read; None when they were read to
    the end or to the limit.
    """

    rows: list[StoredRow]
    until: bytes | None = None


def encode_cursor(store_key: bytes) -> str:
    """Opaque cursor behind a row."""
    return base64.urlsafe_b64encode(store_key).decode()


def decode_cursor(text: str) -> bytes:
    """Reverse of `encode_cursor`. Raises UserError."""
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError as error:
        raise UserError("the cursor is not one of ours: pass it as the answer before gave it") from error


def merge_pages(pages: list[Page], limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """The first `limit` rows of several sorted pages, and the cursor behind them (None at the end).

    A page that ended early cuts all others off: rows behind it come with the next page, in order and once.
    """
    until = read_until(pages)
    rows = sorted((row for page in pages for row in page.rows), key=lambda row: row.store_key)
    if until is not None:
        rows = [row for row in rows if row.store_key <= until]
    shown = rows[:limit]
    last = shown[-1].store_key if len(rows) > limit else until
    return [row.row for row in shown], None if last is None else encode_cursor(last)


def read_until(pages: list[Page]) -> bytes | None:
    """The smallest key at which one of the pages ended early, None when none did."""
    return min((page.until for page in pages if page.until is not None), default=None)
