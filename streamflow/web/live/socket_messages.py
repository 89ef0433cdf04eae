"""What a client may say over /v1/ws. docs/live.md has the whole conversation."""

from typing import Annotated

import msgspec

from streamflow.bus.event_types import EventType, Severity

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Said(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, rename={"start": "from"}):
    """An object with a `type`."""


class Subscribe(_Said, tag="subscribe"):
    """Follow a table."""

    id: str
    table: str
    topology: str | None = None
    key: _Text | None = None
    prefix: _Text | None = None
    start: str | int | None = None
    to: str | int | None = None
    every_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    snapshot: bool = True
    resume: str | None = None
    window: _Count | None = None


class SubscribeEvents(_Said, tag="subscribe_events"):
    """Follow the bus."""

    id: str
    types: list[EventType] = []
    topology: str = ""
    node: str = ""
    key: str = ""
    severity: Severity = Severity.DEBUG
    resume: str | None = None
    window: _Count | None = None


class Unsubscribe(_Said, tag="unsubscribe"):
    """Follow it no more."""

    id: str


class Ack(_Said, tag="ack"):
    """Everything of a subscription up to a number was taken."""

    id: str
    number: int


class Ping(_Said, tag="ping"):
    """Are you there?"""


#: A message of its JSON. Raises MsgspecError, which says what is wrong.
decode = msgspec.json.Decoder(Subscribe | SubscribeEvents | Unsubscribe | Ack | Ping).decode
