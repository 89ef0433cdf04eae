"""Makes a run of a topology that goes on from a snapshot.

    rows                   into the changelogs of the run, whose workers restore them as always
    between two stages     into the run's own topics; their offsets begin at 0
    offsets, run record    last; until then the offsets say that a restore is under way, so one that was interrupted
                           is no beginning: workers and a second restore refuse it

The run begins exactly where the snapshot was: what came to the sources since is read again, once.
"""

import asyncio
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.checkpoint.progress import RESTORING, Progress
from streamflow.checkpoint.snapshot import Kept, Manifest, Part
from streamflow.errors import BrokerUnavailable, StateMismatch, UserError
from streamflow.model.letter import TIME
from streamflow.model.parking import PARKED
from streamflow.plan.mirrored import mirrored_topics
from streamflow.plan.plan import EntryKind, Plan
from streamflow.plan.runs import into_run
from streamflow.plan.topics import RECORD_MAX_BYTES
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks.drain import MARK
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.mirror import Mirror
from streamflow.runtime.mirror_log import copies, has_others, translate
from streamflow.runtime.reset import find
from streamflow.runtime.runs import RunRecord, commit_offsets, group_of, write_record
from streamflow.runtime.snapshot_store import SnapshotStore
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import Settings

_BATCH_MAX_BYTES = 1 << 20

Place = tuple[str, int]
Offsets = dict[TopicPartition, OffsetAndMetadata]


async def restore(plan: Plan, settings: Settings, snapshot: str, run: str, origin: str = "") -> Manifest:
    """Make run `run` of a topology, which goes on from a snapshot when it is started.

    plan: the live one. origin: region that the snapshot was taken in, when that was another: its offsets are found here
    in what a mirror has copied. Raises UserError, StateMismatch, TopicError, BrokerUnavailable, KafkaRefusal,
    ObjectsUnreachable.
    """
    store = SnapshotStore(settings.snapshots_url, plan.topology)
    manifest, target = await store.manifest(snapshot), into_run(plan, run)
    _check_layouts(plan, manifest)
    if await find(target, settings):
        raise UserError(
            f"run {target.identity} is there already: take another name, or `streamflow reset --into {run}`"
        )
    sources = await _sources(plan, settings, manifest, origin)
    found = await _as_here(settings, manifest, sources, origin) if origin else manifest
    group = group_of(target, settings)
    try:
        torn = {TopicPartition(*place): OffsetAndMetadata(offset, RESTORING) for place, offset in sources.items()}
        await commit_offsets(settings, group, torn)
        counts = await ensure_topics(target, settings)
        for stage in target.stages:
            has, had = counts[stage.input_topics[0]], sum(each.stage == stage.name for each in manifest.tasks)
            if has != had:
                raise StateMismatch(f"{stage.name} has {has} partitions, in the snapshot {had}: it does not fit")
        await commit_offsets(settings, group, await _write(plan, target, settings, store, found, sources))
        record = RunRecord(f"snapshot {manifest.id}", int(time.time() * 1_000), sources, {})
        await write_record(target, settings, record)
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    return manifest


def _check_layouts(plan: Plan, manifest: Manifest) -> None:
    """Whether the topology's tables are those of the snapshot."""
    has = {(stage.name, table.name): table.layout for stage in plan.stages for table in stage.tables}
    had = {(task.stage, table.table): table.layout for task in manifest.tasks for table in task.tables}
    inputs = {(stage.name, topic) for stage in plan.stages for topic in stage.input_topics}
    kept = {(task.stage, each.topic) for task in manifest.tasks for each in task.inputs}
    others = sorted(table for _, table in {key for key in has | had if has.get(key) != had.get(key)})
    if others or inputs != kept:
        what = ", ".join(others) or "its stages"
        raise StateMismatch(
            f"snapshot {manifest.id} is of another topology: {what} differ; restore it with the one it is of"
        )


async def _sources(plan: Plan, settings: Settings, manifest: Manifest, origin: str) -> dict[Place, int]:
    """Where each source partition goes on, here."""
    topics = {entry.topic for stage in plan.stages for entry in stage.entries if entry.kind is EntryKind.SOURCE}
    found = {
        (each.topic, task.partition): each.offset
        for task in manifest.tasks
        for each in task.inputs
        if each.topic in topics
    }
    if not origin:
        return found
    mirror = Mirror(settings, settings, origin, ())
    places = [TopicPartition(*place) for place in found]
    try:
        copied = await committed_offsets(settings, mirror.identity, places)
    except KafkaError as error:
        raise BrokerUnavailable(f"the positions of {mirror.identity} cannot be read: {error!r}") from error
    own = {place.topic for place in places if place not in copied} - set(mirrored_topics([plan]))
    if own:
        raise UserError(
            f"{', '.join(sorted(own))}: no mirror copies it, as each region writes its own, so positions of {origin} "
            f"mean nothing here: restore the snapshot there"
        )
    behind = [
        f"{p.topic}/{p.partition}" for p in places if p not in copied or copied[p].offset < found[p.topic, p.partition]
    ]
    if behind:
        raise UserError(
            f"the mirror of {origin} has not come as far as the snapshot in {', '.join(behind)}: wait for it"
        )
    here = {place: await translate(settings, origin, *place, offset) for place, offset in found.items()}
    mixed = [f"{t}/{p}" for (t, p), offset in here.items() if await has_others(settings, origin, t, p, offset)]
    if mixed:
        raise UserError(
            f"{', '.join(mixed)} took other events than those of {origin} when the snapshot was taken, and nothing "
            f"says which of them are in it: restore it in {origin}"
        )
    return here


async def _as_here(settings: Settings, manifest: Manifest, sources: Collection[Place], origin: str) -> Manifest:
    """The manifest of another region with the offsets that are done behind positions of sources as they are here."""
    tasks = []
    for task in manifest.tasks:
        progress = Progress.decode(task.progress)
        for number, (each, entry) in enumerate(zip(task.inputs, progress.entries, strict=False)):
            if entry.overtaken and (each.topic, task.partition) in sources:
                done = await copies(settings, origin, each.topic, task.partition, entry.overtaken)
                progress = _moved(progress, number, done)
        tasks.append(msgspec.structs.replace(task, progress=progress.encode() if task.progress else ""))
    return msgspec.structs.replace(manifest, tasks=tasks)


async def _write(
    plan: Plan, target: Plan, settings: Settings, store: SnapshotStore, manifest: Manifest, sources: dict[Place, int]
) -> Offsets:
    """Rows and what lay between stages; the offsets that the run begins with."""
    committed: Offsets = {}
    producer = AIOKafkaProducer(
        **connection(settings),
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=_BATCH_MAX_BYTES,
        max_request_size=RECORD_MAX_BYTES + _BATCH_MAX_BYTES,
    )
    await producer.start()
    try:
        for kept in manifest.tasks:
            before, stage = plan.stage(kept.stage), target.stage(kept.stage)
            for table in kept.tables:
                topic = next(each.changelog_topic for each in stage.tables if each.name == table.table)
                await _write_parts(producer, store, manifest, topic, kept.partition, table.parts)
            progress, positions = Progress.decode(kept.progress), dict[Place, int]()
            for each in kept.inputs:
                number = before.input_topics.index(each.topic)
                place = stage.input_topics[number], kept.partition
                positions[place] = sources.get(place, 0)
                if place not in sources:
                    known = progress.entries[number:]  # an input that came later is not in it yet
                    done = known[0].overtaken if known else frozenset()
                    moved = await _write_parts(producer, store, manifest, *place, each.parts, done)
                    progress = _moved(progress, number, moved)
            # Another life: what a worker still has of an earlier restore under this name is not this state.
            text = replace(progress, life=secrets.token_hex(4)).encode() if kept.progress else ""
            committed |= {
                TopicPartition(*place): OffsetAndMetadata(offset, text) for place, offset in positions.items()
            }
    finally:
        await disconnect(producer)
    return committed


async def _write_parts(
    producer: AIOKafkaProducer,
    store: SnapshotStore,
    manifest: Manifest,
    topic: str,
    partition: int,
    parts: list[Part],
    wanted: frozenset[int] = frozenset(),
) -> frozenset[int]:
    """Append the records of parts to a new partition; where those at the wanted offsets are now."""
    found: set[int] = set()
    count, now_ms = 0, int(time.time() * 1_000)  # retention counts from now on
    for part in parts:
        sent: list[asyncio.Future[Any]] = []
        for records in batches(await store.part(manifest.id, part)):
            batch = producer.create_batch()
            for offset, key, value, headers in records:
                record: dict[str, Any] = {"timestamp": now_ms, "key": key, "value": value, "headers": list(headers)}
                if batch.append(**record) is None:
                    sent.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = producer.create_batch()
                    batch.append(**record)
                if offset in wanted:
                    found.add(count)
                count += 1
            batch.close()
            sent.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)
    return frozenset(found)


def batches(records: Sequence[Kept]) -> Iterator[list[Kept]]:
    """Records as batches in which workers see of them what they saw: a watermark at the end of one, headers in those of
    records that have some, and what was sent again, or let go, alone."""
    batch: list[Kept] = []
    for record in records:
        _, key, value, headers = record
        is_sent_again = any(name in (TIME, PARKED) for name, _ in headers)
        if batch and (is_sent_again or bool(headers) != bool(batch[-1][3])):
            yield batch
            batch = []
        batch.append(record)
        if is_sent_again or (key is None and value is not None and value[:1] == MARK):
            yield batch
            batch = []
    if batch:
        yield batch


def _moved(progress: Progress, number: int, overtaken: frozenset[int]) -> Progress:
    """With the offsets of an entry that are done behind its position as they are now."""
    entries = tuple(
        replace(entry, overtaken=overtaken) if place == number else entry
        for place, entry in enumerate(progress.entries)
    )
    return replace(progress, entries=entries)
