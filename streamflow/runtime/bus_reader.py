"""Reads the bus, and the seals over it, from outside of any group: committed records only."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from streamflow.bus.audit.digest import LogRecord
from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

#: A partition that gives nothing for this long before its end is a failure, not patience.
STALL_S = 30.0
_FETCH_MS = 200


class BusReader:
    """One consumer over all partitions of a topic; one read at a time. An asynchronous context."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        self._brokers = settings.brokers
        self.consumer = AIOKafkaConsumer(
            **connection(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_MS,
        )
        self.partitions: list[int] = []

    async def __aenter__(self) -> "BusReader":
        """Connect. Raises BrokerUnavailable, TopicError when there is no such topic."""
        try:
            await self.consumer.start()
            known: set[int] = set()
            if self.topic in await self.consumer.topics():  # asking for its partitions could make it
                self.consumer.assign([TopicPartition(self.topic, 0)])
                await self.consumer.beginning_offsets([TopicPartition(self.topic, 0)])
                known = self.consumer.partitions_for_topic(self.topic) or set()
        except KafkaError as error:
            await disconnect(self.consumer)
            raise BrokerUnavailable(f"Kafka at {self._brokers} does not answer: {error!r}") from error
        self.partitions = sorted(known)
        if not self.partitions:
            await disconnect(self.consumer)
            raise TopicError(f"there is no topic {self.topic}: no worker of this namespace has run")
        self.consumer.assign(self._places())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await disconnect(self.consumer)

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in self.partitions]

    async def begins(self) -> dict[int, int]:
        """First offset that is kept, per partition."""
        return {tp.partition: offset for tp, offset in (await self.consumer.beginning_offsets(self._places())).items()}

    async def ends(self) -> dict[int, int]:
        """Offset behind the last committed record, per partition."""
        return {tp.partition: offset for tp, offset in (await self.consumer.end_offsets(self._places())).items()}

    async def at_time(self, time_ms: int) -> dict[int, int]:
        """Offset of the first record at or after a time, per partition; the end where there is none."""
        found = await self.consumer.offsets_for_times(dict.fromkeys(self._places(), time_ms))
        ends = await self.ends()
        return {tp.partition: ends[tp.partition] if at is None else at.offset for tp, at in found.items()}

    async def read(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> AsyncGenerator[list[LogRecord], None]:
        """Records from starts up to ends, in batches of one partition each. Raises BrokerUnavailable."""
        waiting = {p for p in self.partitions if starts.get(p, 0) < ends.get(p, 0)}
        for tp in self._places():
            self.consumer.seek(tp, starts.get(tp.partition, 0))
            if tp.partition not in waiting:
                self.consumer.pause(tp)
            else:
                self.consumer.resume(tp)
        idle_s = 0.0
        while waiting:
            try:
                batches = await self.consumer.getmany(timeout_ms=_FETCH_MS)
                positions = {p: await self.consumer.position(TopicPartition(self.topic, p)) for p in waiting}
            except KafkaError as error:
                raise BrokerUnavailable(f"{self.topic} cannot be read: {error!r}") from error
            idle_s = 0.0 if batches else idle_s + _FETCH_MS / 1_000
            for tp, records in batches.items():
                if made := [as_log_record(r) for r in records if r.offset < ends[tp.partition]]:
                    yield made
            for partition, position in positions.items():
                # What is left before the end may be markers of transactions, which nobody is given.
                if position >= ends[partition] or (idle_s >= 1.0 and position + 1 >= ends[partition]):
                    waiting.discard(partition)
                    self.consumer.pause(TopicPartition(self.topic, partition))
            if idle_s > STALL_S:
                raise BrokerUnavailable(f"nothing came from {self.topic} for {STALL_S:.0f} s")

    async def last(self, partition: int) -> LogRecord | None:
        """The last record of a partition that no transaction writes to."""
        begin, end = (await self.begins())[partition], (await self.ends())[partition]
        if begin >= end:
            return None
        async with asyncio.timeout(STALL_S), aclosing(self.read({partition: end - 1}, {partition: end})) as batches:
            async for batch in batches:
                return batch[-1]
        return None


def as_log_record(record: ConsumerRecord) -> LogRecord:
    """A record of Kafka's client as our own."""
    return LogRecord(record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
