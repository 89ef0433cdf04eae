"""What a sink writes to, as declared: pure data."""

from dataclasses import dataclass
from enum import StrEnum


class FileFormat(StrEnum):
    """How rows are written into a file."""

    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """Files in the sink's own folder. One ends with `roll_bytes` of input, or `roll_ms` after its first row."""

    format: FileFormat
    roll_bytes: int
    roll_ms: int


@dataclass(frozen=True, slots=True)
class SqlTarget:
    """Rows of a table. url_variable: environment variable with the URL of the database.

    key: columns by which a row replaces the one before it; none: every row is added. create: make the table when it is
    not there. roll_bytes, roll_ms: as of files, of one transaction of the database.
    """

    url_variable: str
    table: str
    key: tuple[str, ...]
    create: bool
    roll_bytes: int
    roll_ms: int


Target = FileTarget | SqlTarget
