"""Takes a snapshot of a topology that stands still.

Every task has given its word for an order that holds it, and what it said it has committed is what the group's offsets
say: so no transaction is open, and changelogs, offsets and what lies between stages are one cut. All of it is read from
Kafka, by one worker, in parts of 4 MiB; memory: one part and one fetch.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.bus.control import Control, Wish
from streamflow.checkpoint.progress import Progress
from streamflow.checkpoint.snapshot import (
    PART_BYTES,
    Kept,
    KeptInput,
    KeptTable,
    KeptTask,
    Manifest,
    Part,
    committed_digest,
)
from streamflow.errors import BrokerUnavailable, IllegalMove
from streamflow.plan.plan import EntryKind, Plan, Stage
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.connection import connection
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.runs import group_of
from streamflow.runtime.snapshot_store import SnapshotStore
from streamflow.settings.settings import Settings

#: How long the last transactions get until their ends are written everywhere, seconds; a look each so often.
_SETTLED_S, _LOOK_S = 30.0, 0.1

Place = tuple[str, int]


async def take(
    plan: Plan, settings: Settings, control: Callable[[], Awaitable[Control]], counts: Mapping[str, int], actor: str
) -> Manifest:
    """Keep the state of a topology. control: what the control topic says by now; counts: partitions of every topic.

    Raises IllegalMove when it does not stand still all the while, UserError, BrokerUnavailable, ObjectsUnreachable.
    """
    said = await control()
    order = _held(plan, said)
    store, at = SnapshotStore(settings.snapshots_url, plan.topology), datetime.now(UTC)
    taking = _Taking(plan, settings, store, at.strftime("%Y%m%dT%H%M%S%f")[:-3] + "Z")
    tasks = [
        await taking.task(stage, partition, said.committed(stage.name, partition))
        for stage in plan.stages
        for partition in range(counts[stage.input_topics[0]])
    ]
    if _held(plan, await control()) != order:
        raise IllegalMove(
            f"{plan.identity} was ordered something else meanwhile: pause it, and take the snapshot again"
        )
    at_ms = int(at.timestamp() * 1_000)
    manifest = Manifest(taking.id, plan.topology, plan.version, at_ms, actor, order, tasks)
    await store.put_manifest(manifest)
    return manifest


def _held(plan: Plan, control: Control) -> int:
    """Version of the order that holds it."""
    if control.order.wish is Wish.RUN or control.waiting_for():
        raise IllegalMove(f"{plan.identity} is {control.state}: pause it first, so that its tasks stand still")
    return control.order.version


class _Taking:
    """A snapshot that is being taken."""

    def __init__(self, plan: Plan, settings: Settings, store: SnapshotStore, snapshot: str) -> None:
        self.id = snapshot
        self._plan, self._settings, self._store = plan, settings, store
        self._of_run = f".{plan.run}" if plan.run else ""  # which topics of a run have behind those of the live one
        self._parts = 0

    async def task(self, stage: Stage, partition: int, committed: str) -> KeptTask:
        """One task, which has said that it has committed this."""
        offsets, progress = await self._committed(stage, partition, committed)
        inputs = []
        for entry in stage.entries:
            offset = offsets[entry.topic, partition]
            is_outside = entry.kind is EntryKind.SOURCE
            parts = [] if is_outside else await self._keep(entry.topic, partition, offset)
            name = entry.topic if is_outside else entry.topic.removesuffix(self._of_run)
            inputs.append(KeptInput(name, offset, parts))
        tables = [
            KeptTable(table.name, table.layout, await self._keep(table.changelog_topic, partition, 0))
            for table in stage.tables
        ]
        return KeptTask(stage.name, partition, progress, inputs, tables)

    async def _committed(self, stage: Stage, partition: int, committed: str) -> tuple[dict[Place, int], str]:
        """Offsets and progress of a task, once they are those that it said."""
        places = [TopicPartition(topic, partition) for topic in stage.input_topics]
        deadline = time.monotonic() + _SETTLED_S
        while True:
            try:
                found = await committed_offsets(self._settings, group_of(self._plan, self._settings), places)
                missing = [place for place in places if place not in found]
                first = await self._beginnings(missing) if missing else {}
            except KafkaError as error:
                raise BrokerUnavailable(f"offsets of {stage.name}/{partition} cannot be read: {error!r}") from error
            offsets = {(p.topic, p.partition): found[p].offset if p in found else first[p] for p in places}
            progress = next((each.metadata for each in found.values() if each.metadata), "")
            if committed_digest(offsets.items(), Progress.decode(progress).encode()) == committed:
                return offsets, progress
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"the group has not committed what {stage.name}/{partition} said, for {_SETTLED_S:.0f} s: "
                    f"resume and pause the topology, and take the snapshot again"
                )
            await asyncio.sleep(_LOOK_S)

    async def _beginnings(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(**connection(self._settings), enable_auto_commit=False)
        try:
            await consumer.start()
            found: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
        finally:
            await disconnect(consumer)
        return found

    async def _keep(self, topic: str, partition: int, start: int) -> list[Part]:
        """What a partition has from an offset on, in parts."""
        end = await self._end(topic, partition)
        kept: list[Part] = []
        records: list[Kept] = []
        size_bytes = 0
        async for record in self._stable(topic, partition, start, end):
            records.append(record)
            size_bytes += len(record[1] or b"") + len(record[2] or b"")
            if size_bytes >= PART_BYTES:
                kept.append(await self._put(records))
                records, size_bytes = [], 0
        if records:
            kept.append(await self._put(records))
        return kept

    async def _put(self, records: list[Kept]) -> Part:
        self._parts += 1
        return await self._store.put_part(self.id, self._parts, records)

    async def _end(self, topic: str, partition: int) -> int:
        """The end of all that was written, ends of transactions not counted that are not written yet."""
        consumer, place = AIOKafkaConsumer(**connection(self._settings)), TopicPartition(topic, partition)
        try:
            await consumer.start()
            return int((await consumer.end_offsets([place]))[place])
        except KafkaError as error:
            raise BrokerUnavailable(f"the end of {topic} cannot be read: {error!r}") from error
        finally:
            await disconnect(consumer)

    async def _stable(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Kept]:
        """Committed records; waits for ends of transactions before `end`."""
        deadline = time.monotonic() + _SETTLED_S
        while True:
            async with CommittedLog(self._settings, topic, partition) as log:
                if log.end >= end:
                    async for record in log.records(start):
                        yield record.offset, record.key, record.value, record.headers
                    return
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"a transaction in {topic}/{partition} has not ended for {_SETTLED_S:.0f} s")
            await asyncio.sleep(_LOOK_S)
