"""POST /v1/topics/{topic}/events: decode, validate and append events in one batch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response
from starlette.requests import ClientDisconnect

from streamflow.errors import BrokerUnavailable, EventError
from streamflow.model.codec import RowCodec
from streamflow.model.keyed_publish import request_digest
from streamflow.model.names import near_name
from streamflow.model.outcome import CORRELATION, new_execution
from streamflow.model.position import encode_token
from streamflow.model.schema import Schema
from streamflow.plan.plan import EntryKind
from streamflow.state.keys import key_bytes
from streamflow.topology.names import level_topic
from streamflow.web.expected_versions import (
    TIMEOUT_MS,
    Expected,
    IfMatch,
    IfNoneMatch,
    TimeoutMs,
    judged,
    judges_of,
    ready_to_wait,
)
from streamflow.web.guard import require
from streamflow.web.keyed_publishing import (
    OWNER_PATH,
    REPLAYED,
    IdempotencyKey,
    Once,
    OwnersKey,
    by_owner,
    published_once,
)
from streamflow.web.limits import DEPTH_MAX, MEDIA_TYPES, PublishLimits, TokenBucket, is_too_deep
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable
from streamflow.web.publish_document import RESPONSES, request_body
from streamflow.web.routes import Routes
from streamflow.web.tracing import traced

Priority = Annotated[str | None, Query(max_length=30, description="level of the source (`priorities`)")]
Key = Annotated[str | None, Query(description="key of all events of this request")]
_PATH = "/v1/topics/{topic}/events"
#: Key and value of a record.
Pair = tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A topic with what validates its events. In a global table the key is part of a row, and a row can be deleted."""

    node: str
    schema: Schema
    codec: RowCodec
    key_field: str | None
    is_table: bool = False


def publishing_routes(service: Service, publishing: "Publishing") -> Routes:
    """Routes that publish events to source topics, and rows to global tables."""
    router = Routes()
    bodies = request_body({topic: target.schema for topic, target in publishing.targets.items()})

    @router.post(_PATH, tags=["publish"], operation_id="publish", responses=RESPONSES, openapi_extra=bodies)
    async def publish(
        request: Request,
        topic: str,
        key: Key = None,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        timeout_ms: TimeoutMs = TIMEOUT_MS,
        priority: Priority = None,
    ) -> Response:
        """Append events: one JSON object, an array of them, or NDJSON. Answers counts, what was rejected and why, and a
        position token; `accepted` events are acknowledged by all in-sync replicas.

        The body `null` with a key deletes that key's row of a global table. With a priority, events go to the topic of
        that level, where the caller must be allowed to publish.

        With an Idempotency-Key the same request is carried out once, however often it comes within the time that keys
        are remembered (ten minutes by default); the answer is the first one's, with `Idempotency-Replayed: true`.

        With If-Match, the ETag of a row of an `accept` node's table, or `If-None-Match: *`, the event is a write in
        view of that version. The answer waits for what became of it: 200 with the new version, 412 with the newest one
        when somebody else wrote first, 202 with a Location when the time is over."""
        topic = publishing.leveled(request, topic, priority)
        if if_match is None and if_none_match is None:
            return await publishing.answer(request, topic, key, idempotency_key)
        await ready_to_wait(service)
        published = await publishing.answer(request, topic, key, idempotency_key, Expected(if_match, if_none_match))
        return await judged(service, publishing.judges[topic], published, timeout_ms)

    @router.post(
        OWNER_PATH, tags=["publish"], operation_id="publish_as_owner", responses=RESPONSES, openapi_extra=bodies
    )
    async def publish_as_owner(
        request: Request,
        topic: str,
        idempotency_key: OwnersKey,
        key: Key = None,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The same with an Idempotency-Key that this worker should decide about (between workers). A write is judged
        later: who forwarded it waits."""
        expected = Expected(if_match, if_none_match)
        return await publishing.answer(
            request, topic, key, idempotency_key, expected if expected.given else None, is_owner=True
        )

    return router


class Publishing:
    """What the routes share, and `plain_publish.py`."""

    def __init__(self, service: Service, limits: PublishLimits, buckets: Mapping[str, TokenBucket]) -> None:
        self._service, self._limits, self._buckets = service, limits, buckets
        self.targets = targets_of(service) | _tables_of(service)
        sources = {topic: target.node for topic, target in self.targets.items() if not target.is_table}
        judges = judges_of(service.plan, sources)
        #: Only where the event itself can say what it expects.
        self.judges = {topic: each for topic, each in judges.items() if each.field in self.targets[topic].schema.names}

    def leveled(self, request: Request, topic: str, level: str | None) -> str:
        """The topic of a level, if one is given. Raises Refusal."""
        if level is None:
            return topic
        _known_target(self.targets, topic)
        entries = (entry for stage in self._service.plan.stages for entry in stage.entries if entry.level)
        levels = {each.level: each.topic for each in entries if each.topic == level_topic(topic, each.level)}
        if level not in levels:
            hint = near_name(level, sorted(levels), "its levels are")
            raise Refusal(422, "unknown_priority", f"topic {topic!r} has no level {level!r}: {hint}")
        require(request, "publish", topic=levels[level])
        return levels[level]

    async def answer(
        self,
        request: Request,
        topic: str,
        key: str | None,
        idempotency_key: str | None,
        expected: Expected | None = None,
        *,
        is_owner: bool = False,
    ) -> Response:
        """What a publish is answered, but for what becomes of a write. Raises Refusal."""
        service, limits = self._service, self._limits
        target = _known_target(self.targets, topic)
        if key == "":
            raise Refusal(422, "bad_parameter", "the key is empty: leave the parameter out, or give a key")
        body = await admitted(service, request, self._buckets[topic], limits)
        named = topic
        if expected is not None:
            body, named = expected.put_into(body, self.judges.get(topic)), f"{topic} If-Match"  # no topic is called so
        once = None if idempotency_key is None else Once(idempotency_key, request_digest(named, key, body))
        if once is not None and not is_owner:
            forwarded = await by_owner(service, request, topic, key, once, body)
            if forwarded is not None:
                return forwarded
        values = events_of(body, limits.batch_events)
        self._buckets[topic].take(len(values))
        if target.is_table and values == [b"null"]:
            return await _append(service, request, topic, [_deletion(key)], [], once)
        records, rejected = validated(target, values, key)
        return await _append(service, request, topic, records, rejected, once, is_write=expected is not None)


def _known_target(targets: Mapping[str, Target], topic: str) -> Target:
    target = targets.get(topic)
    if target is None:
        hint = near_name(topic, sorted(targets), "topics are")
        raise Refusal(404, "unknown_topic", f"there is no topic {topic!r} to publish to: {hint}")
    return target


def targets_of(service: Service) -> dict[str, Target]:
    """The source topics of the plan."""
    found = {}
    for stage in service.plan.stages:
        for entry in stage.entries:
            if entry.kind is EntryKind.SOURCE:
                codec = RowCodec(entry.schema, entry.reject_unknown_fields)
                found[entry.topic] = Target(entry.node, entry.schema, codec, entry.key.source if entry.key else None)
    return found


def _tables_of(service: Service) -> dict[str, Target]:
    """The topics of the plan's global tables."""
    return {
        table.topic: Target(table.name, table.schema, RowCodec(table.schema), table.key_name, is_table=True)
        for table in service.plan.global_tables
    }


async def admitted(service: Service, request: Request, bucket: TokenBucket, limits: PublishLimits) -> bytes:
    """The body of a request that may publish now. Raises Refusal."""
    _check_headers(request)
    if service.publishing_is_busy:
        raise Refusal(503, "busy", "too many publishes are on their way", retry_after_s=1)
    wait_s = bucket.wait_s()
    if wait_s > 0:
        detail = f"a topic takes {limits.events_per_s} events/s here"
        raise Refusal(429, "too_fast", detail, retry_after_s=math.ceil(wait_s))
    return await body_of(request)


def _check_headers(request: Request) -> None:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "encoded", "compressed bodies are not taken: send it plain")
    given = request.headers.get("content-type", "")
    if given and given.partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise Refusal(415, "media_type", f"{given!r} is not taken: send application/json or application/x-ndjson")


async def body_of(request: Request) -> bytes:
    """The body, bounded by `bodies.BoundedBodies`. Raises Refusal."""
    try:
        return (await request.body()).strip()
    except ClientDisconnect as error:  # nobody reads this, but it is no fault of ours
        raise Refusal(400, "disconnected", "the connection ended before the body did") from error


def events_of(body: bytes, max_events: int) -> list[bytes]:
    """Raw events: elements of an array, or lines. Raises Refusal."""
    if not body:
        raise Refusal(422, "empty", "the body is empty: send a JSON object, an array of them, or one per line")
    try:
        if body.startswith(b"["):
            values = [bytes(each) for each in msgspec.json.decode(body, type=list[msgspec.Raw])]
        elif b"\n" in body and _is_object(body):
            values = [body]
        else:
            values = [line.strip() for line in body.split(b"\n") if line.strip()]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refusal(422, "not_json", f"the body is not JSON: {error}") from error
    if len(values) > max_events:
        detail = f"a request may have {max_events} events, this has {len(values)}: send it in parts"
        raise Refusal(413, "too_many", detail)
    return values


def _is_object(body: bytes) -> bool:
    """Whether the whole body is one value: a pretty-printed object has line breaks too."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    except RecursionError:  # whatever it is: the row decoder refuses it as nested too deeply
        return True
    return True


def _deletion(key: str | None) -> Pair:
    if key is None:
        raise Refusal(422, "bad_parameter", "null deletes a row: say of which `key`")
    return key.encode(), None


def validated(target: Target, values: list[bytes], key: str | None) -> tuple[list[Pair], list[dict[str, Any]]]:
    decoded = target.codec.decode(list(values))
    rejected = [_rejected(index, error) for index, error in decoded.bad]
    places = decoded.kept if decoded.kept is not None else range(len(values))
    records: list[Pair] = []
    for index, row in zip(places, decoded.rows, strict=True):
        own = getattr(row, target.key_field) if target.key_field is not None else None
        if target.key_field is not None and own is None and key is None:
            rejected.append(_rejected(index, EventError("null_key", f"the key field {target.key_field!r} is null")))
            continue
        if is_too_deep(values[index]):
            rejected.append(_rejected(index, EventError("decode", f"it is nested deeper than {DEPTH_MAX}")))
            continue
        if target.is_table and key is not None and key != str(own):
            message = f"the key of this row is {own!r}, that of the request {key!r}"
            rejected.append(_rejected(index, EventError("other_key", message)))
            continue
        found = key.encode() if key is not None else (None if own is None else key_bytes(own))
        records.append((found, _one_line(values[index])))
    return records, sorted(rejected, key=lambda each: each["index"])


def _one_line(value: bytes) -> bytes:
    """Pretty-printed events are stored on one line, which the readers decode fastest.

    A line break in JSON is white space: inside a string it would have to be escaped.
    """
    return value.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in value else value


def _rejected(index: int, error: EventError) -> dict[str, Any]:
    return {"index": index, "reason": error.reason, "message": str(error)}


async def _append(
    service: Service,
    request: Request,
    topic: str,
    records: list[Pair],
    rejected: list[dict[str, Any]],
    once: Once | None,
    *,
    is_write: bool = False,
) -> Response:
    token, published, execution = None, None, new_execution() if is_write else ""
    if records:
        try:
            with traced(service, request, topic) as headers:
                if is_write:
                    headers = [(CORRELATION, execution.encode()), *headers]
                if once is not None:
                    published = await published_once(service, topic, once, records, headers)
                ends = published.ends if published is not None else await service.publish(topic, records, headers)
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        token = encode_token({topic: ends})
    accepted = len(records) if published is None else published.count
    body = {"accepted": accepted, "rejected": rejected, "token": token}
    if is_write:
        body["execution"] = execution if published is None else published.execution
    answered = {REPLAYED: "true"} if published is not None and published.replayed else None
    return JsonResponse(body, status_code=422 if rejected and not records else 200, headers=answered)
