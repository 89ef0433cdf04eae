"""The producer of a task on a real Kafka: refused records, limits that change, and owners that come in between."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from streamflow.checkpoint.checkpoint import Checkpoint, Output
from streamflow.checkpoint.progress import Progress
from streamflow.errors import Fenced, TopicError
from streamflow.runtime.changelog import Changelog
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.record_limits import RecordLimits
from streamflow.runtime.transaction import TaskProducer
from streamflow.settings.settings import load_settings
from streamflow.state.store import TableChanges

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


class _Bench:
    """A topic for inputs, one for results, one for dead letters, and producers of one task."""

    def __init__(self, kafka: str, name: str) -> None:
        self.settings = load_settings(brokers=kafka)
        self.source, self.results, self.letters, self.group = f"{name}.in", f"{name}.out", f"{name}.dead", name
        self.limits = RecordLimits(self._read_limits, stood_s=1.0)
        self.admin = AIOKafkaAdminClient(bootstrap_servers=kafka)

    async def _config(self) -> dict[str, str]:
        while True:
            found = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, self.results)])
            entries = {entry[0]: entry[1] for entry in found[0].resources[0][4]}
            if entries:
                return entries
            await asyncio.sleep(0.1)  # created a moment ago

    async def _read_limits(self) -> Mapping[str, int]:
        return {self.results: int((await self._config())["max.message.bytes"])}

    async def limit(self, size_bytes: int) -> None:
        """Returns when the broker goes by it: it tells of a change just before it applies it, so that a second change
        is told when the first one holds."""
        config = {"max.message.bytes": str(size_bytes)}
        for mark in ({}, {"file.delete.delay.ms": str(size_bytes)}):
            resource = ConfigResource(ConfigResourceType.TOPIC, self.results, config | mark)
            await self.admin.alter_configs([resource])
        while True:
            if (await self._config())["file.delete.delay.ms"] == str(size_bytes):
                return
            await asyncio.sleep(0.05)

    async def producer(self) -> TaskProducer:
        made = TaskProducer(self.settings, self.group, f"sf.{self.group}", self.letters, _refuse, self.limits)
        await made.start()
        made.continue_from({(self.source, 0): 0}, Progress())
        return made

    def checkpoint(self, offset: int, *values: bytes, watermark_ms: int = 0) -> Checkpoint:
        outputs: dict[tuple[str, int], list[Output]] = {(self.results, 0): [(b"k", value, None) for value in values]}
        progress = Progress(watermark_ms).encode()
        return Checkpoint(offset, outputs, positions={(self.source, 0): offset}, progress=progress)

    async def read(self, topic: str, count: int) -> list[bytes]:
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self.settings.brokers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            return [(await asyncio.wait_for(consumer.getone(), 60)).value for _ in range(count)]
        finally:
            await consumer.stop()

    async def committed(self) -> int:
        found = await committed_offsets(self.settings, self.group, [TopicPartition(self.source, 0)])
        return int(found[TopicPartition(self.source, 0)].offset)


async def _refuse(_offsets: Any) -> None:
    raise AssertionError("exactly once commits offsets in its transactions only")


def _with_bench(kafka: str, name: str, act: Callable[[_Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bench = _Bench(kafka, name)
        await bench.admin.start()
        try:
            topics = (bench.source, bench.results, bench.letters)
            await bench.admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
            await bench.limits.read()
            await act(bench)
        finally:
            await bench.admin.close()

    asyncio.run(main())


def test_a_refusal_within_the_known_limit_is_tried_again_until_the_limit_is_raised(kafka: str, unique: str) -> None:
    async def act(bench: _Bench) -> None:
        producer = await bench.producer()
        await producer.commit(bench.checkpoint(1, b"first"), {})
        await bench.limit(100)  # a marker of the broker's own takes 78 bytes, and must still fit
        commit = asyncio.create_task(producer.commit(bench.checkpoint(2, b"x" * 100, b"y"), {}))
        await asyncio.sleep(0.7)
        assert not commit.done()
        await bench.limit(4 << 20)
        await commit
        await producer.commit(bench.checkpoint(3, b"last"), {})
        await producer.close()
        assert await bench.read(bench.results, 4) == [b"first", b"x" * 100, b"y", b"last"]
        assert await bench.committed() == 3

    _with_bench(kafka, unique, act)


def test_a_record_beyond_a_limit_that_stands_is_put_aside_wherever_it_stands_in_its_batch(
    kafka: str, unique: str
) -> None:
    async def act(bench: _Bench) -> None:
        await bench.limit(2_000)
        producer = await bench.producer()
        big = b"x" * 5_000
        await producer.commit(bench.checkpoint(1, big, b"a", big, b"b"), {})
        await producer.close()
        assert await bench.read(bench.results, 2) == [b"a", b"b"]
        assert await bench.read(bench.letters, 2) == [big, big]

    _with_bench(kafka, unique, act)


def test_a_row_of_state_that_its_changelog_does_not_take_ends_the_worker_and_nothing_is_committed(
    kafka: str, unique: str
) -> None:
    """Put aside, it would be in the store alone, and gone with the disk."""

    async def act(bench: _Bench) -> None:
        await bench.limit(2_000)
        producer = await bench.producer()
        changed = bench.checkpoint(1, b"result")
        changed.tables = [TableChanges("totals", [(b"k", b"x" * 5_000)])]
        with pytest.raises(TopicError, match="totals has 5001 bytes"):
            await producer.commit(changed, {"totals": Changelog(bench.results, 0, "layout")})
        await producer.close()
        later = await bench.producer()  # whoever comes next ends what was begun
        await later.commit(bench.checkpoint(1, b"next"), {})
        await later.close()
        assert await bench.read(bench.results, 1) == [b"next"]

    _with_bench(kafka, unique, act)


@pytest.mark.parametrize("offset", [1, 9])
def test_a_producer_that_is_initialised_anew_does_not_undo_a_newer_owner(kafka: str, unique: str, offset: int) -> None:
    """Its connection broke, meanwhile somebody else had the task, also when that committed only that time went on."""

    async def act(bench: _Bench) -> None:
        old = await bench.producer()
        await old.commit(bench.checkpoint(1, b"old"), {})
        new = await bench.producer()
        await new.commit(bench.checkpoint(offset, b"new", watermark_ms=5), {})
        old._running()._sender.repeated_without_answer = True
        with pytest.raises(Fenced):
            await old.commit(bench.checkpoint(2, b"stale"), {})
        await old.close()
        await new.close()
        assert await bench.committed() == offset
        assert await bench.read(bench.results, 2) == [b"old", b"new"]

    _with_bench(kafka, unique, act)


def test_a_producer_that_is_initialised_anew_goes_on_when_nobody_came_in_between(kafka: str, unique: str) -> None:
    async def act(bench: _Bench) -> None:
        producer = await bench.producer()
        for offset in (1, 2):  # before anything is committed, and after
            producer._running()._sender.repeated_without_answer = True
            await producer.commit(bench.checkpoint(offset, b"%d" % offset), {})
        await producer.close()
        assert await bench.read(bench.results, 2) == [b"1", b"2"]

    _with_bench(kafka, unique, act)
