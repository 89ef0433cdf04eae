"""Where a run begins and ends, written down in Kafka before its first worker starts.

    group <application>.<identity>        committed offsets: where the run starts, then how far it is
    group <application>.<identity>#run    the run's record: per source partition its end (of a bounded run), and as
                                          metadata where it started, what `--from` said, and when

The record is written last, so a run that has one has everything. Whoever begins the run again finds it and goes on:
same start, same end, whatever was published since. (Two that begin it at the same moment may write ends some records
apart; a source partition then ends where the task that read it was told, once and for all.)

Offsets of a group that nobody uses go by the broker's `offsets.retention.minutes`, a week by default; so does an
unfinished run.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, KafkaError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.checkpoint.progress import Progress
from streamflow.errors import BrokerUnavailable, StateMismatch, UserError
from streamflow.model.codec import time_ms
from streamflow.model.position import Positions, decode_token
from streamflow.plan.plan import Plan, TopicRole
from streamflow.runtime.connection import connection
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import Settings

EARLIEST = "earliest"
_ATTEMPTS = 6
_BACKOFF_S = 0.1
_TEXT_MAX_CHARS = 100

Place = tuple[str, int]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What was written down. `starts` and `ends` per (topic, partition) of the sources; `ends` empty: it has no end.
    `end`: what `--to` said. is_over: written when nothing else of it is kept (runtime/rounds.py)."""

    start: str
    begun_ms: int
    starts: dict[Place, int]
    ends: dict[Place, int]
    end: str = ""
    is_over: bool = False


def group_of(plan: Plan, settings: Settings) -> str:
    """Consumer group of a run."""
    return f"{settings.application}.{plan.identity}"


def record_group_of(plan: Plan, settings: Settings) -> str:
    """Group whose offsets are the run's record."""
    return f"{group_of(plan, settings)}#run"


async def begin(
    plan: Plan, settings: Settings, start: str | None, *, bounded: bool, end: str | None = None
) -> RunRecord:
    """Begin a run, or find the record of the one that has begun.

    start: `earliest` (also when None), an offset, an ISO 8601 time (of the records), or a position token.
    end: the same, of a bounded run; where the sources end now when None.
    Raises UserError for a start or end that cannot be read or contradicts the run's record, TopicError,
    BrokerUnavailable.
    """
    counts = await ensure_topics(plan, settings)

    async def act() -> RunRecord:
        found = await record_of(plan, settings, counts)
        if found is not None:
            _check_same(plan, found, start, end, bounded)
            return found
        await _check_fresh(plan, settings, counts)
        return await _begin(plan, settings, counts, start or EARLIEST, end, bounded)

    return await patiently(act, f"run {plan.identity} cannot be begun")


async def read_record(plan: Plan, settings: Settings) -> RunRecord | None:
    """The record of a run, None when it has not begun. Raises BrokerUnavailable, StateMismatch."""
    counts = await ensure_topics(plan, settings)
    return await patiently(lambda: record_of(plan, settings, counts), f"the record of {plan.identity} cannot be read")


async def patiently(act: Callable[[], Awaitable[_T]], fault: str) -> _T:
    """Do something that may be done again: a new broker takes a while until groups have a coordinator."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await act()
        except KafkaError as error:
            if attempt == _ATTEMPTS or not error.retriable:
                raise BrokerUnavailable(f"{fault}: {error!r}") from error
            await asyncio.sleep(_BACKOFF_S * 2**attempt)
    raise AssertionError("unreachable")


async def offsets_read(plan: Plan, settings: Settings, record: RunRecord) -> int:
    """How many of the offsets of a bounded run are committed. Raises BrokerUnavailable."""
    places = [TopicPartition(*place) for place in record.ends]
    try:
        committed = await committed_offsets(settings, group_of(plan, settings), places)
    except KafkaError as error:
        raise BrokerUnavailable(f"the offsets of {plan.identity} cannot be read: {error!r}") from error
    read = 0
    for place, end in record.ends.items():
        found = committed.get(TopicPartition(*place))
        read += 0 if found is None else min(found.offset, end) - record.starts[place]
    return read


async def committed_progress(
    admin: AIOKafkaAdminClient, plan: Plan, settings: Settings, counts: Mapping[str, int]
) -> dict[tuple[str, int], Progress]:
    """Progress of every task as committed, by (stage, partition); of tasks without a checkpoint the empty one."""
    topics = {stage.name: stage.input_topics[0] for stage in plan.stages}
    places = [TopicPartition(topic, partition) for topic in topics.values() for partition in range(counts[topic])]
    committed = await admin.list_consumer_group_offsets(group_of(plan, settings), partitions=places)
    found = {}
    for name, topic in topics.items():
        for partition in range(counts[topic]):
            each = committed.get(TopicPartition(topic, partition))
            found[name, partition] = Progress.decode(each.metadata if each is not None and each.offset >= 0 else "")
    return found


# -- beginning ---------------------------------------------------------------------------------------------------------


def _sources(plan: Plan, counts: Mapping[str, int]) -> list[TopicPartition]:
    return [
        TopicPartition(topic.name, partition)
        for topic in plan.topics
        if topic.role is TopicRole.SOURCE
        for partition in range(counts[topic.name])
    ]


async def record_of(plan: Plan, settings: Settings, counts: Mapping[str, int]) -> RunRecord | None:
    """The record of a run whose sources have so many partitions. Raises KafkaError, StateMismatch."""
    places = _sources(plan, counts)
    found = await committed_offsets(settings, record_group_of(plan, settings), places)
    if not found:
        return None
    bodies = {place: orjson.loads(each.metadata) for place, each in found.items()}
    body = next(iter(bodies.values()))
    if len(found) != len(places) and not body.get("over"):
        raise StateMismatch(
            f"the sources of {plan.identity} have other partitions than when the run began: reset it, or begin another"
        )
    return RunRecord(
        body["from"],
        body["begun_ms"],
        {(place.topic, place.partition): bodies[place]["start"] for place in bodies},
        {(place.topic, place.partition): each.offset for place, each in found.items()} if body["bounded"] else {},
        body.get("to", ""),
        body.get("over", False),
    )


def _check_same(plan: Plan, found: RunRecord, start: str | None, end: str | None, bounded: bool) -> None:
    remedy = f"leave it out to go on, take another name (--into), or `streamflow reset` {plan.identity} first"
    if start is not None and _short(start) != found.start:
        raise UserError(f"{plan.identity} has begun from {found.start}, not from {_short(start)}: {remedy}")
    if end is not None and _short(end) != found.end:
        raise UserError(f"{plan.identity} has begun to {found.end or 'its end then'}, not to {_short(end)}: {remedy}")
    if bounded != bool(found.ends):
        has, given = ("an end", "without") if found.ends else ("no end", "with")
        raise UserError(f"{plan.identity} has begun with {has}, and goes on only so; it was called {given} --bounded")


async def _check_fresh(plan: Plan, settings: Settings, counts: Mapping[str, int]) -> None:
    """Offsets without progress are from a beginning that did not get as far as the record: they may be overwritten."""
    committed = await committed_offsets(settings, group_of(plan, settings), _sources(plan, counts))
    if any(each.metadata for each in committed.values()):
        raise UserError(
            f"{plan.identity} has run before, so its start cannot be chosen any more: replay into a run of its own "
            f"(--into), or `streamflow reset` it first"
        )


async def _begin(
    plan: Plan, settings: Settings, counts: Mapping[str, int], start: str, end: str | None, bounded: bool
) -> RunRecord:
    places = _sources(plan, counts)
    consumer = AIOKafkaConsumer(**connection(settings), enable_auto_commit=False, isolation_level="read_committed")
    try:
        await consumer.start()
        first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        starts = {
            place: min(max(offset, first[place]), last[place])
            for place, offset in (await _places(consumer, "--from", start, first, last, first)).items()
        }
        if end is not None:
            ends = await _places(consumer, "--to", end, first, last, last)
            last = {place: min(max(ends[place], starts[place]), last[place]) for place in places}
    finally:
        await disconnect(consumer)
    begun_ms = int(time.time() * 1_000)
    await commit_offsets(
        settings, group_of(plan, settings), {place: OffsetAndMetadata(starts[place], "") for place in places}
    )
    record = RunRecord(
        _short(start),
        begun_ms,
        {(place.topic, place.partition): starts[place] for place in places},
        {(place.topic, place.partition): last[place] for place in places} if bounded else {},
        "" if end is None else _short(end),
    )
    await write_record(plan, settings, record)
    return record


async def write_record(plan: Plan, settings: Settings, record: RunRecord) -> None:
    """Write a run's record down, over what is there of it. Raises KafkaError."""
    offsets = {}
    for place, start in record.starts.items():
        body = {"from": record.start, "bounded": bool(record.ends), "begun_ms": record.begun_ms, "start": start}
        body |= {"to": record.end} if record.end else {}
        body |= {"over": True} if record.is_over else {}
        offsets[TopicPartition(*place)] = OffsetAndMetadata(record.ends.get(place, start), orjson.dumps(body).decode())
    await commit_offsets(settings, record_group_of(plan, settings), offsets)


async def _places(
    consumer: AIOKafkaConsumer,
    option: str,
    start: str,
    first: dict[TopicPartition, int],
    last: dict[TopicPartition, int],
    unnamed: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """The place of each partition that an option means; `unnamed` of those that a token does not name.

    Offsets outside of the log are moved to its nearer end by the caller.
    """
    if start == EARLIEST:
        return first
    if start.isdecimal():
        return dict.fromkeys(first, int(start))
    try:
        moment_ms = time_ms(start)
    except ValueError:
        token = _token(option, start)
        return {place: token.get(place.topic, {}).get(place.partition, unnamed[place]) for place in first}
    found = await consumer.offsets_for_times(dict.fromkeys(first, max(0, moment_ms)))
    return {place: last[place] if found[place] is None else found[place].offset for place in first}


def _token(option: str, start: str) -> Positions:
    try:
        return decode_token(start)
    except UserError as error:
        message = (
            f"{option} {start!r} is no place: give `earliest`, an offset, an ISO 8601 time, or a token of a publish"
        )
        raise UserError(message) from error


def _short(start: str) -> str:
    """What stands in the record: tokens may be longer than a record's metadata."""
    return start if len(start) <= _TEXT_MAX_CHARS else "token " + hashlib.sha256(start.encode()).hexdigest()[:16]


async def commit_offsets(settings: Settings, group: str, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
    """Commit offsets of a group that has no members. Raises UserError when it has some."""
    consumer = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    except (CommitFailedError, UnknownMemberIdError) as error:
        raise UserError(f"workers of {group} are alive: stop them first") from error
    finally:
        await disconnect(consumer)
