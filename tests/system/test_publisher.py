"""Requests that publish at once share batches, and nothing else."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition

from streamflow.errors import BrokerUnavailable
from streamflow.model.outcome import CORRELATION
from streamflow.runtime.publisher import Publisher
from streamflow.settings.settings import load_settings

_REQUESTS = 30
#: Less than the batch of a round, more than a request, but for the one that is too large.
_TOPIC_MAX_BYTES, _SIZE, _TOO_LARGE = 4_000, 200, 2_000


@pytest.mark.kafka
def test_requests_that_share_a_batch_are_told_their_own_ends(kafka: str, unique: str) -> None:
    async def act() -> None:
        await _create(kafka, unique)
        publisher = Publisher(load_settings(brokers=kafka))
        await publisher.start()
        said: dict[bytes, tuple[int, int]] = {}

        async def publish(request: int, size: int) -> bool:
            values = [b"%d.%d" % (request, number) + b" " * size for number in range(4)]
            try:  # key 0 is of partition 0, key 1 of partition 1
                ends = await publisher.publish(unique, [(b"%d" % (n % 2), value) for n, value in enumerate(values)])
            except BrokerUnavailable:
                return False
            said.update({values[2]: (0, ends[0]), values[3]: (1, ends[1])})
            return True

        try:
            for start in (0, 100):
                sizes = [_TOO_LARGE if n == 7 else _SIZE for n in range(_REQUESTS)]
                taken = await asyncio.gather(*(publish(start + n, size) for n, size in enumerate(sizes)))
                assert [n for n, was_taken in enumerate(taken) if not was_taken] == [7], "no other one is refused by it"
        finally:
            await publisher.stop()
        wanted = [100 * r + n for r in range(2) for n in range(_REQUESTS) if n != 7]
        found = await _read(kafka, unique, 4 * len(wanted))
        assert sorted(value.split()[0] for value in found) == sorted(
            b"%d.%d" % (n, m) for n in wanted for m in range(4)
        )
        assert said == {value: found[value] for value in said}

    asyncio.run(act())


@pytest.mark.kafka
def test_records_of_executions_share_no_batch(kafka: str, unique: str) -> None:
    async def act() -> None:
        await _create(kafka, unique)
        publisher = Publisher(load_settings(brokers=kafka))
        await publisher.start()
        counts: list[int] = []
        send_batch = publisher._producer.send_batch

        async def seen(batch: BatchBuilder, *args: Any, **options: Any) -> Any:
            counts.append(batch.record_count())
            return await send_batch(batch, *args, **options)

        publisher._producer.send_batch = seen
        try:
            many = [(b"0", b"a1"), (b"0", b"a2")]
            marks = [((CORRELATION, b"1"),), ((CORRELATION, b"2"),)]
            await asyncio.gather(
                publisher.publish(unique, [(b"0", b"first")]),
                publisher.publish(unique, [(b"0", b"b1"), (b"0", b"b2")]),
                publisher.publish(unique, many, each=marks),
                publisher.publish(unique, [(b"0", b"b3")]),
                publisher.publish(unique, [(b"0", b"a3")], [(CORRELATION, b"3")]),
                publisher.publish(unique, [(b"0", b"b4")]),
            )
        finally:
            await publisher.stop()
        # The first may go alone or with the two behind it; the last four have an execution between each two of them.
        assert counts in ([3, 1, 1, 1, 1, 1], [1, 2, 1, 1, 1, 1, 1])

    asyncio.run(act())


@pytest.mark.kafka
def test_what_fails_harms_nobody_else(kafka: str, unique: str) -> None:
    async def act() -> None:
        await _create(kafka, unique, **{"cleanup.policy": "compact"})
        publisher = Publisher(load_settings(brokers=kafka))
        await publisher.start()
        publish = publisher.publish
        try:
            # A compacted topic takes no record without a key.
            refused, *ends = await asyncio.gather(
                publish(unique, [(None, b"no key")], partition=0),
                *(publish(unique, [(b"0", b"with")]) for _ in range(3)),
                return_exceptions=True,
            )
            assert isinstance(refused, BrokerUnavailable)
            assert "InvalidRecord" in str(refused)
            assert ends == [{0: 1}, {0: 2}, {0: 3}]
            # Nobody knows what became of a batch: the partition takes the next one, and so does every other.
            assert await publish(unique, [(b"1", b"another partition")]) == {1: 1}
            publisher._producer._txn_manager.increment_sequence_number(TopicPartition(unique, 0), 7)
            with pytest.raises(BrokerUnavailable, match="OutOfOrder"):
                await publish(unique, [(b"0", b"lost")])
            assert await publish(unique, [(b"0", b"after"), (b"1", b"after")]) == {0: 4, 1: 2}
            # Who does not wait any more leaves nothing behind that would wait for a broker that is away.
            lane, send_batch, back = publisher._lane(unique, 0), publisher._producer.send_batch, asyncio.Event()

            async def away(*args: Any, **options: Any) -> Any:
                await back.wait()
                return await send_batch(*args, **options)

            publisher._producer.send_batch = away
            first = asyncio.create_task(lane.append(1, [(b"0", b"first", [])]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gone = asyncio.create_task(lane.append(1, [(b"0", b"gone", [])]))
            await asyncio.sleep(0)
            assert len(lane._waiting) == 1
            gone.cancel()
            await asyncio.wait([gone])
            assert not lane._waiting
            back.set()
            assert await first == 5
        finally:
            await publisher.stop()

    asyncio.run(act())


async def _create(kafka: str, topic: str, **configs: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    configs = {"max.message.bytes": str(_TOPIC_MAX_BYTES), **configs}
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=configs)])
    await admin.close()


async def _read(kafka: str, topic: str, count: int) -> dict[bytes, tuple[int, int]]:
    """(partition, next offset) of every value, each of which may be there once."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(2)])
        found: dict[bytes, tuple[int, int]] = {}
        ends = await consumer.end_offsets(list(consumer.assignment()))
        assert sum(ends.values()) == count
        async with asyncio.timeout(60):
            while len(found) < count:
                record = await consumer.getone()
                found[record.value] = record.partition, record.offset + 1
        return found
    finally:
        await consumer.stop()
