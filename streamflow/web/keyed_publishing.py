"""Publishes with an Idempotency-Key: by the worker that should decide about the key, or here when it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Request, Response

from streamflow.errors import KafkaRefusal, OwnerUnreachable
from streamflow.model.keyed_publish import KeyReused, Published, TooManyKeys
from streamflow.model.trace_context import TRACEPARENT
from streamflow.web.ports import Service
from streamflow.web.problems import Refusal

#: How long the owner of a key gets to answer; then it is decided here, which fences the owner.
FORWARD_S = 10.0
OWNER_PATH = "/v1/topics/{topic}/events/as-owner"
REPLAYED = "Idempotency-Replayed"

_GIVEN = Header(
    alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[!-~]+$", description="names the request"
)
IdempotencyKey = Annotated[str | None, _GIVEN]
OwnersKey = Annotated[str, _GIVEN]


@dataclass(frozen=True, slots=True)
class Once:
    """A request's idempotency key, and the digest that tells the request from another."""

    key: str
    digest: bytes


async def by_owner(
    service: Service, request: Request, topic: str, key: str | None, once: Once, body: bytes
) -> Response | None:
    """The answer of the worker that should decide; None when that is this one, nobody, or one that does not answer.

    It matters for speed alone: whoever decides has fenced all others.
    """
    owner = service.publish_owner(once.key)
    if owner is None or owner == service.url:
        return None
    path = OWNER_PATH.replace("{topic}", quote(topic, safe=""))
    parameters = {} if key is None else {"key": key}
    given = {"Idempotency-Key": once.key}
    given |= {
        name: request.headers[name]
        for name in ("content-type", "if-match", "if-none-match", TRACEPARENT)
        if name in request.headers
    }
    try:
        status, headers, content = await service.forward(owner, path, parameters, given, body)
    except OwnerUnreachable:
        return None
    if status in (401, 403):  # it does not know this worker, which is nothing that the client could mend
        return None
    named = ("content-type", "retry-after", REPLAYED.lower())
    return Response(content, status, {name: value for name, value in headers.items() if name.lower() in named})


async def published_once(
    service: Service,
    topic: str,
    once: Once,
    records: Sequence[tuple[bytes | None, bytes | None]],
    headers: Sequence[tuple[str, bytes]],
) -> Published:
    """Append, unless it was done before. Raises Refusal, BrokerUnavailable."""
    try:
        return await service.publish_once(topic, once.key, once.digest, records, headers)
    except KeyReused as error:
        raise Refusal(422, "idempotency_key_reused", str(error)) from error
    except KafkaRefusal as error:
        raise Refusal(503, "kafka_refuses", str(error), retry_after_s=30) from error
    except TooManyKeys as error:
        raise Refusal(429, "too_many_keys", str(error), retry_after_s=30) from error
