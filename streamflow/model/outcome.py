"""What became of one event that somebody waits for: written by tasks, put together by whoever answers.

Every task that works on a record with the header `sf-correlation` writes one part, in the transaction of the record,
if `new_execution` made the id:

    {"id": …, "from": [topic, partition, offset], "onward": 2,      records it sent to further stages, with the header,
                                                                    and rows it parked
     "rows": [{"topic", "key", "row"}],                             what went to sinks
     "late": [{"node", "topic", "late_ms"}], "dead": [{"node", "reason", "error"}],
     "writes": [{"node", "key", "accepted", "version"}]}            judged by nodes of kind accept

An outcome is complete when 1 + the sum of `onward` parts are there. A part comes before the parts of what it sent
onward, because these are read after its commit; parts that come twice (at least once) are told by `from`.
"""

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
import orjson

#: Header of a record that belongs to an execution. It travels in batches of its own: only these are looked at.
CORRELATION = "sf-correlation"
#: Header of a record that is one of several pieces of its execution (docs/decisions/0049-executions.md).
PIECE = "sf-piece"
#: Ids beyond are replaced by their digest.
_ID_MAX_BYTES = 200
_OWN_ID = re.compile(rb"[0-9a-f]{11}-[0-9a-f]{32}")
#: Rows beyond these bytes are left out of a part; they are in their sink.
ROWS_MAX_BYTES = 256 << 10

Headers = tuple[tuple[str, bytes], ...]
#: (topic, key, value, headers) of a record that a row added to the outputs.
Added = tuple[str, bytes | None, bytes | None, Headers]


class Write(msgspec.Struct, frozen=True, gc=False):
    """What a node of kind accept said of a row: whether it was taken, and the newest version of its key."""

    node: str
    key: str
    accepted: bool
    version: int


def new_execution() -> str:
    """An id that tells when it was made: milliseconds, then chance."""
    return f"{int(time.time() * 1_000):011x}-{uuid.uuid4().hex}"


def numbered_executions(first: str, count: int) -> list[str]:
    """Ids of events that are executed together: `first` with its last four digits counted up from nothing."""
    return [f"{first[:-4]}{number:04x}" for number in range(count)]


def is_awaited(execution: bytes) -> bool:
    """Whether `new_execution` made the id, so that somebody may ask for the outcome."""
    return _OWN_ID.fullmatch(execution) is not None


def bounded_id(execution: bytes) -> bytes:
    """The id, or its digest when it is too long."""
    return execution if len(execution) <= _ID_MAX_BYTES else sha256(execution).hexdigest().encode()


def encode_part(
    correlation: bytes,
    origin: tuple[str, int, int],
    added: Sequence[Added],
    onward_topics: frozenset[str],
    parked_count: int = 0,
    writes: Sequence[Write] = (),
    cancelled: str | None = None,
) -> bytes:
    """The part of one record: what its row added to the outputs. Rows that were parked have parts of their own later,
    whose origin is the approval."""
    part: dict[str, Any] = {
        "id": correlation.decode(errors="replace"),
        "from": origin,
        "onward": sum(topic in onward_topics for topic, *_ in added) + parked_count,
        "rows": [],
        "late": [],
        "dead": [],
        "writes": [msgspec.structs.asdict(write) for write in writes],
        **({} if cancelled is None else {"cancelled": cancelled}),
    }
    room = ROWS_MAX_BYTES
    for topic, key, value, headers in added:
        if topic in onward_topics:
            continue
        known = {name: text.decode(errors="replace") for name, text in headers}
        reason = known.get("sf-reason")
        if reason == "late":
            late_ms = int(known.get("sf-late-ms", "0"))
            part["late"].append({"node": known.get("sf-node"), "topic": topic, "late_ms": late_ms})
        elif reason is not None:
            part["dead"].append({"node": known.get("sf-node"), "reason": reason, "error": known.get("sf-error")})
        else:
            room -= len(value or b"")
            row = {"topic": topic, "key": None if key is None else key.decode(errors="replace")}
            part["rows"].append(
                {**row, "row": orjson.Fragment(value or b"null")} if room >= 0 else {**row, "omitted": True}
            )
    return orjson.dumps(part)


def refused_part(part: bytes, node: str, reason: str, error: str) -> bytes:
    """A part whose row was refused by the outside afterwards."""
    body = orjson.loads(part)
    return orjson.dumps({**body, "dead": [*body["dead"], {"node": node, "reason": reason, "error": error}]})


@dataclass(slots=True)
class Outcome:
    """The parts of one execution so far. `size_bytes`: of the parts, for whoever bounds what is kept."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    writes: list[dict[str, Any]] = field(default_factory=list)
    is_cancelled: bool = False
    missing: int = 1
    size_bytes: int = 0
    _seen: set[tuple[str, int, int]] = field(default_factory=set)

    def add(self, part: dict[str, Any], size_bytes: int) -> None:
        """Add a part; one that was added before changes nothing."""
        origin = tuple(part["from"])
        if origin in self._seen:
            return
        self._seen.add(origin)
        self.missing += part["onward"] - 1
        self.size_bytes += size_bytes
        self.rows += part["rows"]
        self.late += part["late"]
        self.dead += part["dead"]
        self.is_cancelled = self.is_cancelled or "cancelled" in part
        self.writes += part.get("writes", ())  # parts of an older version have none

    def shown(self) -> dict[str, Any]:
        """What is answered of it."""
        parts = {"rows": self.rows, "late": self.late, "dead": self.dead, "writes": self.writes}
        return {"status": self.status, **parts}

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return self.missing == 0

    @property
    def is_judged(self) -> bool:
        """Whether it is known what became of the write that it is, although more of it may be on its way."""
        return self.is_complete or bool(self.writes)

    @property
    def status(self) -> str:
        """pending, dead (some of it became a dead letter), cancelled, late, or done."""
        if not self.is_complete:
            return "pending"
        return "dead" if self.dead else "cancelled" if self.is_cancelled else "late" if self.late else "done"
