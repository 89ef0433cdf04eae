"""Keys that wait behind a dead letter: what is kept of them, and the records that let them go.

event of K fails ──► letter, `sf-parked: input/offset/K`      K is parked behind the record at that offset
later events of K ──► wait
letter is redriven ──► its event comes again, with the header ──► worked on first; what waited follows
letter is discarded ──► a release with the offset             ──► what waited goes on without it
"""

from typing import Any, NamedTuple

import msgspec

from streamflow.model.schema import Field, FieldType, Schema

#: Header of a letter behind which its key waits, and of its event when it comes again.
PARKED = "sf-parked"

#: A record of the topic of releases.
RELEASE = Schema("Release", (Field("at", FieldType.TIMESTAMP), Field("offset", FieldType.INT)))
_OFFSET_MAX_DIGITS = 19


class Place(NamedTuple):
    """What a letter's key waits behind: the record of an input, by its offset. key: its bytes."""

    node: str
    offset: int
    key: bytes

    @property
    def header(self) -> bytes:
        """As a header."""
        return b"%s/%d/%s" % (self.node.encode(), self.offset, self.key)


def place_of(header: bytes) -> Place | None:
    """Reverse of `Place.header`; None for what is none, as anybody may have written it."""
    node, _, rest = header.partition(b"/")
    offset, slash, key = rest.partition(b"/")
    if not (slash and offset.isdigit() and len(offset) <= _OFFSET_MAX_DIGITS):
        return None
    return Place(node.decode(errors="replace"), int(offset), key)


class Head(msgspec.Struct, array_like=True):
    """A parked key. offset: of the record whose letter it waits behind, None while what waited goes on.

    since_ms: wall clock. failures: of records at its head. waiting: events behind it.
    """

    offset: int | None
    since_ms: int
    failures: int
    waiting: int

    def view(self) -> dict[str, Any]:
        """As a query shows it."""
        return {"offset": self.offset, "since": self.since_ms, "failures": self.failures, "waiting": self.waiting}


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """An event that waits: its record, its event time (ms) as it was judged when it came, and who follows it.

    of: bytes of the key that it waits behind.
    """

    of: bytes
    offset: int
    timestamp_ms: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    correlation: bytes | None
    is_piece: bool
    is_traced: bool


def parked_schema(key: FieldType) -> Schema:
    """Of a row of the table of parked keys."""
    counts = ("failures", "waiting")
    fields = (Field("key", key), Field("offset", FieldType.INT, nullable=True), Field("since", FieldType.TIMESTAMP))
    return Schema("Parked", (*fields, *(Field(name, FieldType.INT) for name in counts)))
