"""Rows in files, each once: a file holds the rows of one range of offsets of one partition, and its name says which.

    .<sink>-00002-00000000000000000100.tmp                       being written
    .<sink>-00002-00000000000000000100-00000000000000000250.ready   whole and on the disk, before Kafka's commit
    <sink>-00002-00000000000000000100-00000000000000000250.jsonl    after it

Who opens the partition finds at most one file that was committed and not renamed: the one that ends at the committed
offset and overlaps with no other. It is renamed; all other hidden ones of the partition are of nobody and deleted.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from streamflow.errors import SettingsError, SinkFailed, StateMismatch
from streamflow.model.chunk import Chunk
from streamflow.model.schema import FieldType, Schema
from streamflow.sinks.target import FileFormat, FileTarget

#: Bytes, and rows of Parquet, that are gathered before they are written.
_GATHERED_BYTES, _GROUP_ROWS = 1 << 20, 10_000


class _Writer(Protocol):
    def add(self, row: Any) -> None: ...
    def finish(self) -> None: ...


class _Lines:
    """Rows as JSON, one per line."""

    def __init__(self, file: BinaryIO, schema: Schema) -> None:
        self._file, self._encode, self._names = file, msgspec.json.Encoder().encode, schema.names
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, row: Any) -> None:
        """One more."""
        line = self._encode({name: getattr(row, name) for name in self._names})
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _GATHERED_BYTES:
            self.finish()

    def finish(self) -> None:
        """Write what was gathered."""
        if self._lines:
            self._file.write(b"\n".join(self._lines) + b"\n")
            self._lines.clear()
            self._size = 0


class _Parquet:
    """Rows as Parquet: timestamps in ms of UTC, json as text."""

    def __init__(self, file: BinaryIO, schema: Schema) -> None:
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise SettingsError(
                "pyarrow is not installed, which writes Parquet: pip install 'streamflow[parquet]'"
            ) from error
        types = {
            FieldType.STR: pyarrow.string(), FieldType.INT: pyarrow.int64(), FieldType.FLOAT: pyarrow.float64(),
            FieldType.BOOL: pyarrow.bool_(), FieldType.TIMESTAMP: pyarrow.timestamp("ms", "UTC"),
            FieldType.JSON: pyarrow.string(),
        }  # fmt: skip
        self._fields, self._arrow = schema.fields, pyarrow
        self._schema = pyarrow.schema([pyarrow.field(f.name, types[f.type], f.nullable) for f in schema.fields])
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Any] = []

    def add(self, row: Any) -> None:
        """One more."""
        self._rows.append(row)
        if len(self._rows) >= _GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        columns = [
            self._arrow.array(
                [
                    _text(getattr(row, f.name)) if f.type is FieldType.JSON else getattr(row, f.name)
                    for row in self._rows
                ],
                self._schema.field(f.name).type,
            )
            for f in self._fields
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows.clear()

    def finish(self) -> None:
        """Write the rest and the footer."""
        if self._rows:
            self._write()
        self._writer.close()


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_WRITERS: dict[FileFormat, Callable[[BinaryIO, Schema], _Writer]] = {
    FileFormat.JSONL: _Lines,
    FileFormat.PARQUET: _Parquet,
}


class FileDelivery:
    """The files of one partition. `committed`: offset that Kafka has for the feed."""

    def __init__(
        self, target: FileTarget, schema: Schema, folder: Path, name: str, partition: int, committed: int
    ) -> None:
        self._target, self._schema, self._folder = target, schema, folder
        self._stem = f"{name}-{partition:05}"
        self._start = self.done_until = committed
        self._file: BinaryIO | None = None
        self._writer: _Writer | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._recover(committed)
        except OSError as error:
            raise SinkFailed(f"the files in {folder} cannot be recovered: {error}") from error

    def _recover(self, committed: int) -> None:
        suffix = f".{self._target.format}"
        ranges = [_range(path.stem) for path in self._folder.glob(f"{self._stem}-*{suffix}")]
        if any(end > committed for _, end in ranges):
            raise StateMismatch(
                f"{self._folder} has files of {self._stem} beyond {committed}, where its feed is in Kafka: "
                f"after a reset move them away"
            )
        for path in sorted(self._folder.glob(f".{self._stem}-*")):
            if path.suffix == ".ready":
                start, end = _range(path.stem)
                if end == committed and all(start >= behind or end <= first for first, behind in ranges):
                    path.replace(self._folder / f"{path.stem[1:]}{suffix}")
                    continue
            path.unlink()
        _sync_folder(self._folder)

    def refusal(self, offset: int) -> None:
        """See delivery.py. Whatever fits a schema can be written."""

    def add(self, row: Any, chunk: Chunk, index: int) -> None:
        """See delivery.py."""
        try:
            if self._writer is None:
                self._file = self._temporary.open("wb")
                self._writer = _WRITERS[self._target.format](self._file, self._schema)
            self._writer.add(row)
        except OSError as error:
            raise SinkFailed(f"{self._temporary} cannot be written: {error}") from error

    @property
    def _temporary(self) -> Path:
        return self._folder / f".{self._stem}-{self._start:020}.tmp"

    def take(self, end: int) -> "_FileBatch | None":
        """See delivery.py."""
        file, writer, temporary = self._file, self._writer, self._temporary
        name = f"{self._stem}-{self._start:020}-{end:020}"
        self._start = end
        if file is None or writer is None:
            return None
        self._file = self._writer = None
        return _FileBatch(
            file, writer, temporary, self._folder / f".{name}.ready", self._folder / f"{name}.{self._target.format}"
        )

    def close(self) -> None:
        """See delivery.py."""
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None


class _FileBatch:
    """One file."""

    def __init__(self, file: BinaryIO, writer: _Writer, temporary: Path, ready: Path, final: Path) -> None:
        self._file, self._writer = file, writer
        self._temporary, self._ready, self._final = temporary, ready, final

    def prepare(self) -> tuple[()]:
        """The file is whole, on the disk, and says which rows it has."""
        try:
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._ready)
            _sync_folder(self._ready.parent)
        except OSError as error:
            raise SinkFailed(f"{self._ready} cannot be written: {error}") from error
        return ()

    def settle(self) -> None:
        """It gets its name, unless the next owner of the partition was faster."""
        try:
            self._ready.replace(self._final)
            _sync_folder(self._final.parent)
        except FileNotFoundError as error:
            if not self._final.exists():
                raise SinkFailed(f"{self._ready} is gone, which was committed; look who deletes there") from error
        except OSError as error:
            raise SinkFailed(f"{self._ready} cannot be renamed: {error}") from error


def _range(stem: str) -> tuple[int, int]:
    start, end = stem.split("-")[-2:]
    return int(start), int(end)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
