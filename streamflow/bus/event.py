"""An event of the bus, as CloudEvents 1.0 in structured JSON (Kafka protocol binding)."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamflow.bus.event_types import EventType, Severity
from streamflow.errors import EventError

#: Headers of a record on the bus.
HEADERS = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)

_TYPE = re.compile("[A-Z][A-Z_]*")


class BusEvent(BaseModel):
    """What happened to a topology, node or execution. Same `partitionkey`, same partition, hence in order."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, description="unique with source")
    source: str = Field(min_length=1, description="who says so, such as a worker's address")
    type: str = Field(pattern=f"^{_TYPE.pattern}$", description="what happened, such as NODE_STATE_CHANGED")
    subject: str = Field(description="topology, or topology/node")
    time: datetime = Field(description="when, in UTC")
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = Field("", description="name and version of the data's model")
    severity: Severity = Field(Severity.INFO, strict=False)
    actor: str = Field("", description="who did it: a person or key; empty for the service itself")
    causationid: str = Field("", description="id of the event that this one follows from")
    correlationid: str = Field("", description="id that everything of one request or execution shares")
    partitionkey: str = Field("", description="what stays in order; the subject when nothing else is said")
    position: str = Field("", description="topic/partition/offset of the record that it is about")
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def topology(self) -> str:
        """First part of the subject."""
        return self.subject.partition("/")[0]

    @property
    def node(self) -> str:
        """Second part of the subject, empty when it is about the topology."""
        return self.subject.partition("/")[2]

    def encode(self) -> bytes:
        """CloudEvents JSON; attributes that say nothing are left out."""
        body = {name: value for name, value in self.model_dump(mode="json").items() if value != ""}
        return orjson.dumps({**body, "subject": self.subject, "time": rfc3339(self.time)})

    @classmethod
    def decode(cls, value: bytes) -> "BusEvent":
        """Reverse of `encode`. Raises EventError."""
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise EventError("decode", f"it is no event of the bus: {error}") from error


def new_event(
    source: str,
    kind: EventType,
    subject: str,
    schema: str,
    data: Mapping[str, Any],
    *,
    severity: Severity = Severity.INFO,
    time: datetime | None = None,
    **attributes: Any,
) -> BusEvent:
    """An event that happens now. `attributes`: actor, causationid, correlationid, partitionkey, position."""
    return BusEvent.model_construct(
        id=secrets.token_hex(12),
        source=source,
        type=kind.value,
        subject=subject,
        time=time or datetime.now(UTC),
        dataschema=schema,
        severity=severity,
        data=dict(data),
        **attributes,
    )


def plain_event(value: bytes | None) -> dict[str, Any]:
    """An event as JSON types, unchecked but for its type; empty for what is none: others may have written it."""
    try:
        found = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) and _TYPE.fullmatch(str(found.get("type"))) else {}


def rfc3339(time: datetime) -> str:
    """UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
