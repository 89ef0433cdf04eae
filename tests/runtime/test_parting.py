"""What a static member says to a real group when it stops."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamflow.runtime.hooks import parting
from streamflow.settings.settings import load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
#: Longer than this test waits for anything: nothing here is the end of a session.
_SESSION_MS = 300_000


async def _member(kafka: str, topic: str, name: str, heartbeat_ms: int = 200) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=topic, group_instance_id=name, session_timeout_ms=_SESSION_MS,
        heartbeat_interval_ms=heartbeat_ms, rebalance_timeout_ms=60_000, request_timeout_ms=310_000,
        enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    return consumer


async def _stop(consumer: AIOKafkaConsumer, return_within_ms: int) -> None:
    parting.prepare(
        consumer,
        load_settings(instance_id="set", session_timeout_ms=_SESSION_MS, return_within_ms=return_within_ms),
    )
    await consumer.stop()


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1_200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 60 s")


def test_a_member_that_said_when_it_returns_is_waited_for_and_one_that_leaves_is_not(kafka: str, unique: str) -> None:
    async def main() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(unique, 4, 1)])
        stays = await _member(kafka, unique, "stays")
        goes = await _member(kafka, unique, "goes")
        await _until(lambda: len(stays.assignment()) == len(goes.assignment()) == 2)
        generation, its = goes._coordinator.generation, goes.assignment()

        await _stop(goes, 60_000)
        described = (await admin.describe_consumer_groups([unique]))[0].groups[0]
        assert (described[2], len(described[5])) == ("Stable", 2)
        back = await _member(kafka, unique, "goes")
        assert (back._coordinator.generation, back.assignment()) == (generation, its)
        assert stays._coordinator.generation == generation

        await _stop(back, 0)
        await _until(lambda: len(stays.assignment()) == 4)
        await stays.stop()
        await admin.close()

    asyncio.run(main())


def test_who_has_been_replaced_does_not_take_its_successor_out_of_the_group(kafka: str, unique: str) -> None:
    async def joined() -> AIOKafkaConsumer:
        member = await _member(kafka, unique, "same", heartbeat_ms=60_000)  # it hears of nothing before its stop
        await _until(lambda: len(member.assignment()) == 2)
        return member

    async def main() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(unique, 2, 1)])
        await admin.close()
        for return_within_ms in (0, 60_000):
            old, new = await joined(), await joined()
            await _stop(old, return_within_ms)
            assert await new._coordinator._do_heartbeat(), "it is a member as before"
            await _stop(new, 0)

    asyncio.run(main())
