"""How far a mirror is, as its two regions tell it: nothing has to be asked of the mirror itself."""

import asyncio
import time
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.errors import TopicError
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.mirror import Mirror
from streamflow.runtime.topics import read_topics


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far the copy of a partition is behind.

    position: offset of the source that is copied next, None before anything was. end: the source's. behind_s: age of
    the first record that is not here, by the clocks of its publisher and of this program; 0 when all are.
    """

    topic: str
    partition: int
    position: int | None
    end: int
    behind_s: float

    @property
    def lag(self) -> int:
        """Offsets that are not copied yet: records, and what transactions write between them."""
        return self.end - (self.position or 0)


async def read_lag(mirror: Mirror) -> list[PartitionLag]:
    """Every partition of the mirror's topics. Raises TopicError, BrokerUnavailable, KafkaRefusal."""
    topics = await read_topics(mirror.source, mirror.topics)
    if missing := [name for name in mirror.topics if name not in topics]:
        raise TopicError(f"topic {', '.join(missing)} is not in the source")
    places = [TopicPartition(name, each) for name, (count, _) in topics.items() for each in range(count)]
    consumer = AIOKafkaConsumer(**connection(mirror.source), isolation_level="read_committed", enable_auto_commit=False)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(places)
    except KafkaError as error:
        raise await unavailable(mirror.source, error) from error
    finally:
        await disconnect(consumer)
    try:
        committed = await committed_offsets(mirror.target, mirror.identity, places)
    except KafkaError as error:
        raise await unavailable(mirror.target, error) from error
    positions = {tp: committed[tp].offset if tp in committed else None for tp in places}
    ages = await asyncio.gather(*(_age_s(mirror, tp, positions[tp] or 0, ends[tp]) for tp in places))
    return [
        PartitionLag(tp.topic, tp.partition, positions[tp], max(ends[tp], positions[tp] or 0), age_s)
        for tp, age_s in zip(places, ages, strict=True)
    ]


async def _age_s(mirror: Mirror, tp: TopicPartition, position: int, end: int) -> float:
    if position >= end:
        return 0.0
    async with CommittedLog(mirror.source, tp.topic, tp.partition) as log:
        async for record in log.records(position):
            return max(0.0, time.time() - record.timestamp_ms / 1_000)
    return 0.0  # ends of transactions only
