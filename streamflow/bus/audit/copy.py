"""A copy of the log with its seals, as NDJSON: what `audit export` writes and `audit verify --file` checks.

    {"kind": "begin", "format": 1, "topic": "streamflow.events", "partition": 0, "offset": 0}
    {"kind": "record", "partition": 0, "offset": 0, "timestamp": 1…, "key": "flights", "value": "{…}", "headers": [[…]]}
    {"kind": "seal", …}                       behind the records that it is over

Text is as it is, other bytes are {"base64": "…"}.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from streamflow.bus.audit.digest import LogRecord
from streamflow.bus.audit.keys import Verifier
from streamflow.bus.audit.seal import Seal
from streamflow.bus.audit.verify import Finding, PartitionCheck
from streamflow.errors import EventError, UserError


@dataclass(frozen=True, slots=True)
class Begin:
    """A partition begins here; records before `offset` are gone by retention."""

    topic: str
    partition: int
    offset: int


Part = Begin | LogRecord | Seal


def encode_part(part: Part) -> bytes:
    """A line, without its end."""
    match part:
        case Begin():
            body: dict[str, Any] = {"kind": "begin", "format": 1, "topic": part.topic}
            body |= {"partition": part.partition, "offset": part.offset}
        case Seal():
            body = {"kind": "seal", **part.model_dump()}
        case LogRecord():
            headers = [[name, _text(value)] for name, value in part.headers]
            body = {"kind": "record", "partition": part.partition, "offset": part.offset}
            body |= {"timestamp": part.timestamp_ms, "key": _text(part.key), "value": _text(part.value)}
            body["headers"] = headers
    return orjson.dumps(body)


def decode_part(line: bytes) -> Part:
    """Reverse of `encode_part`. Raises EventError."""
    try:
        body = orjson.loads(line)
        match body.pop("kind"):
            case "begin":
                return Begin(body["topic"], body["partition"], body["offset"])
            case "seal":
                return Seal.decode(orjson.dumps(body))
            case "record":
                headers = tuple((str(name), _bytes(value) or b"") for name, value in body["headers"])
                key, value = _bytes(body["key"]), _bytes(body["value"])
                place = int(body["partition"]), int(body["offset"]), int(body["timestamp"])
                return LogRecord(*place, key, value, headers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EventError("decode", f"it is no line of a copy: {error!r}") from error
    raise EventError("decode", "it is no line of a copy: its kind is unknown")


@dataclass(slots=True)
class Proof:
    """What a check came to: findings, and per partition how far everything is proved."""

    keys: Mapping[str, Verifier]
    findings: list[Finding] = field(default_factory=list)
    partitions: dict[int, PartitionCheck] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        """The next part of a log or copy."""
        if part.partition not in self.partitions:
            begin = part.offset if isinstance(part, Begin) else 0
            self.partitions[part.partition] = PartitionCheck(part.partition, self.keys, begin)
        check = self.partitions[part.partition]
        if isinstance(part, LogRecord):
            self.findings += check.record(part)
        elif isinstance(part, Seal):
            self.findings += check.seal(part)

    def end(self) -> "Proof":
        """After the last part."""
        for check in self.partitions.values():
            self.findings += check.end()
        return self


def check_copy(lines: Iterable[bytes], keys: Mapping[str, Verifier]) -> Proof:
    """Check a copy. Raises UserError, naming the line, for what is none."""
    proof = Proof(keys)
    for part in _parts(lines):
        proof.add(part)
    if not proof.partitions:
        raise UserError("the copy is empty")
    return proof.end()


def _parts(lines: Iterable[bytes]) -> Iterator[Part]:
    for number, line in enumerate(lines, 1):
        try:
            yield decode_part(line)
        except EventError as error:
            raise UserError(f"line {number}: {error}") from error


def _text(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()
