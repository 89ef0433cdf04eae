"""The published schema of what /v1/ws and the streams of live tables say, in JSON Schema 2020-12: `GET /v1/ws/schema`.

Of what clients say it is made from the structs that read it (socket_messages.py); what the server says has its structs
here, which nothing is encoded with: pages and deltas are put together from bytes that all clients share.

A version stays when members are added that a client may leave alone, and messages that it has to ask for: whoever holds
messages against the schema asks the worker for it that it talks to.
"""

from typing import Annotated, Any, Literal

import msgspec

from streamflow.web.live.socket_messages import Ack, Ping, Subscribe, SubscribeEvents, Unsubscribe

#: Of the messages; `subscribed` says it too.
VERSION = 1
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_Hex = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]


class About(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A partition. reset: drop its rows. final_to: windows that end up to there are final, ms. expired_below: drop ids
    that are less."""

    partition: int
    reset: Literal[True] | msgspec.UnsetType = msgspec.UNSET
    watermark: int | msgspec.UnsetType | None = msgspec.UNSET
    final_to: int | msgspec.UnsetType = msgspec.UNSET
    expired_below: _Hex | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct):
    """A row as queries answer it; those of windows have `start` and `end`, ms."""

    key: Any
    final: bool
    value: dict[str, Any] | None
    start: int | msgspec.UnsetType | None = msgspec.UNSET
    end: int | msgspec.UnsetType | None = msgspec.UNSET


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What has this id from now on; no rows: nothing."""

    partition: int
    id: _Hex
    rows: list[Row]


class EventSnapshot(msgspec.Struct, forbid_unknown_fields=True):
    """Data of the server-sent event `snapshot`: a page of what is there."""

    partitions: list[About]
    changes: list[Change]
    complete: Literal[True] | msgspec.UnsetType = msgspec.UNSET


class EventDelta(msgspec.Struct, forbid_unknown_fields=True):
    """Data of the server-sent event `delta`: what changed."""

    partitions: list[About]
    changes: list[Change]


class EventBye(msgspec.Struct, forbid_unknown_fields=True):
    """Data of the server-sent event `bye`: why nothing more comes."""

    reason: str


class _Numbered(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    """Of a subscription. token: to resume, where the client is whole with it."""

    id: str
    number: int
    token: str | msgspec.UnsetType = msgspec.UNSET


class Snapshot(_Numbered, tag="snapshot", kw_only=True):
    """A page of what is there."""

    partitions: list[About]
    changes: list[Change]
    complete: Literal[True] | msgspec.UnsetType = msgspec.UNSET


class Delta(_Numbered, tag="delta", kw_only=True):
    """What changed."""

    partitions: list[About]
    changes: list[Change]


class Events(_Numbered, tag="events", kw_only=True):
    """Events of the bus (CloudEvents)."""

    events: list[dict[str, Any]]


class Bye(msgspec.Struct, tag_field="type", tag="bye", forbid_unknown_fields=True):
    """Why nothing more comes of a subscription."""

    id: str
    reason: str
    number: int | msgspec.UnsetType = msgspec.UNSET
    detail: str | msgspec.UnsetType = msgspec.UNSET


class Subscribed(msgspec.Struct, tag_field="type", tag="subscribed", forbid_unknown_fields=True):
    """It has begun, in this version of the messages."""

    id: str
    version: Literal[1]


class Unsubscribed(msgspec.Struct, tag_field="type", tag="unsubscribed", forbid_unknown_fields=True):
    """It has ended."""

    id: str


class Pong(msgspec.Struct, tag_field="type", tag="pong", forbid_unknown_fields=True):
    """Here."""


class Error(msgspec.Struct, tag_field="type", tag="error"):
    """What was said is refused; more members say more."""

    status: int
    title: str
    detail: str
    id: str | msgspec.UnsetType = msgspec.UNSET


FromClient = Subscribe | SubscribeEvents | Unsubscribe | Ack | Ping
FromServer = Snapshot | Delta | Events | Bye | Subscribed | Unsubscribed | Pong | Error


def live_schema() -> dict[str, Any]:
    """The schema of any message of the WebSocket. `$defs`: FromServer, FromClient, and by name what they and the
    server-sent events are."""
    wanted = (FromServer, FromClient, EventSnapshot, EventDelta, EventBye)
    (server, client, *_), defs = msgspec.json.schema_components(wanted, ref_template="#/$defs/{name}")
    return {
        "$schema": _DIALECT,
        "$id": "/v1/ws/schema",
        "title": "messages of live tables and the bus",
        "version": VERSION,
        "anyOf": [{"$ref": "#/$defs/FromServer"}, {"$ref": "#/$defs/FromClient"}],
        "$defs": {**defs, "FromServer": server, "FromClient": client},
    }
