"""An event of the bus, as CloudEvents 1.0 in structured JSON. The bus itself is built on this model."""

from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field


class BusEvent(BaseModel):
    """What happened to a topology, node or execution. `subject` keeps what concerns one thing in order."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, description="unique with source")
    source: str = Field(min_length=1, description="who says so, such as a worker's address")
    type: str = Field(pattern=r"^[A-Z][A-Z_]*$", description="what happened, such as NODE_STATE_CHANGED")
    subject: str = Field(description="topology, or topology/node")
    time: datetime = Field(description="when, in UTC")
    data: dict[str, Any] = Field(default_factory=dict)

    def encode(self) -> bytes:
        """CloudEvents JSON."""
        body = self.model_dump()
        body["time"] = self.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return orjson.dumps({**body, "datacontenttype": "application/json"})
