"""What a snapshot of a topology says: per task its positions and progress, and where its rows are kept.

    <topology>/<id>/manifest.json      written last: without it there is no snapshot
    <topology>/<id>/<number>           parts: rows of a changelog, or records that lay between two stages

Pure: nothing here reads or writes.
"""

from collections.abc import Iterable
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from streamflow.errors import StateMismatch

#: A part is closed beyond so many bytes; a record more may be in it.
PART_BYTES = 4 << 20
FORMAT = 1

#: Offset, key, value and headers of a record.
Kept = tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class Part(msgspec.Struct, frozen=True):
    """An object of the snapshot: its name below the snapshot's, SHA-256, records, bytes."""

    name: str
    digest: str
    records: int
    size_bytes: int


class KeptTable(msgspec.Struct, frozen=True):
    """Rows of a task's table, as its changelog has them. layout: digest of what the bytes mean."""

    table: str
    layout: str
    parts: list[Part]


class KeptInput(msgspec.Struct, frozen=True):
    """Where a task goes on in an input. parts: of topics between stages, what it had not read."""

    topic: str
    offset: int
    parts: list[Part]


class KeptTask(msgspec.Struct, frozen=True):
    """A task: its progress as it was committed with the offsets, "" where nothing was."""

    stage: str
    partition: int
    progress: str
    inputs: list[KeptInput]
    tables: list[KeptTable]


class Manifest(msgspec.Struct, frozen=True):
    """A snapshot. id: time of it, UTC; sorts by age. order: version of the order that held the topology."""

    id: str
    topology: str
    version: int
    at_ms: int
    actor: str
    order: int
    tasks: list[KeptTask]
    format: int = FORMAT

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> "Manifest":
        """Raises StateMismatch for what is no manifest of this release."""
        try:
            found = msgspec.json.decode(body, type=cls)
        except msgspec.MsgspecError as error:
            raise StateMismatch(f"the manifest of a snapshot is unreadable: {error}") from error
        if found.format != FORMAT:
            raise StateMismatch(f"snapshot {found.id} has format {found.format}, this release reads {FORMAT}")
        return found

    @property
    def parts(self) -> list[Part]:
        """All of it."""
        inputs = [part for task in self.tasks for each in task.inputs for part in each.parts]
        return inputs + [part for task in self.tasks for each in task.tables for part in each.parts]

    def view(self) -> dict[str, Any]:
        """What people are shown."""
        return {
            "id": self.id,
            "topology": self.topology,
            "version": self.version,
            "at": self.at_ms,
            "actor": self.actor,
            "tasks": len(self.tasks),
            "records": sum(part.records for part in self.parts),
            "bytes": sum(part.size_bytes for part in self.parts),
        }


_DECODER = msgspec.msgpack.Decoder(list[Kept])


def encode_part(name: str, records: list[Kept]) -> tuple[Part, bytes]:
    """A part and its bytes."""
    body = msgspec.msgpack.encode(records)
    return Part(name, sha256(body).hexdigest(), len(records), len(body)), body


def decode_part(part: Part, body: bytes) -> list[Kept]:
    """Reverse of it. Raises StateMismatch when the bytes are not those that were written."""
    if sha256(body).hexdigest() != part.digest:
        raise StateMismatch(f"part {part.name} of a snapshot is not what was written: its digest differs")
    return _DECODER.decode(body)


def committed_digest(positions: Iterable[tuple[tuple[str, int], int]], progress: str) -> str:
    """Digest of what a task has committed: tasks with the same one hold the same state, whoever runs them, but for what
    happens by the wall clock. positions: next offset by (topic, partition); progress: encoded."""
    places = [f"{topic}/{partition}={offset}" for (topic, partition), offset in sorted(positions)]
    return blake2b("\n".join([*places, progress]).encode(), digest_size=9).hexdigest()
