"""The EventLog of a process: it does not wait for Kafka, and what it took arrives."""

import asyncio

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from streamflow.bus.event import BusEvent, new_event
from streamflow.bus.event_types import EventType
from streamflow.bus.topics import EVENT_MAX_BYTES, events_topic
from streamflow.runtime.bus_reader import BusReader
from streamflow.runtime.event_log import KafkaEventLog, encoded
from streamflow.runtime.hooks.ending import end
from streamflow.runtime.topics import ensure_bus
from streamflow.settings.settings import load_settings


def test_without_kafka_events_wait_and_a_stop_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        log = KafkaEventLog(load_settings(brokers="127.0.0.1:1"), "test")
        await log.start()
        assert log.emit(EventType.WORKER_STOPPED, "t", {"worker": "w"})
        assert not await log.flush(0.5)
        assert "not sent within" in caplog.text

    asyncio.run(main())


def test_what_is_no_json_is_lost_alone() -> None:
    data = {"rules": {"big": {"metric": "m", "above": 10**30}}}
    event = new_event("w", EventType.ALERT_RULES_CHANGED, "t", "", data, partitionkey="t")
    lost = orjson.loads(encoded(event))
    assert (lost["type"], lost["data"], lost["id"]) == ("EVENTS_LOST", {"counts": {"ALERT_RULES_CHANGED": 1}}, event.id)


@pytest.mark.kafka
def test_events_of_before_the_start_arrive_and_one_too_large_leaves_a_mark(kafka: str, unique: str) -> None:
    async def main() -> None:
        settings = load_settings(brokers=kafka, namespace=unique)
        await ensure_bus(settings)
        log = KafkaEventLog(settings, "test", "ann")
        for number in range(2_500):
            log.emit(EventType.SCALED, "t", {"old": 0, "new": number})
        log.emit(
            EventType.EXECUTION_STARTED,
            "t",
            {"execution": "e", "version": 1, "parameters": {"x": "x" * EVENT_MAX_BYTES}},
        )
        await log.start()
        assert await log.flush(60)
        await log.stop()
        async with BusReader(settings, events_topic(settings)) as reader:
            found = [
                orjson.loads(r.value or b"") async for batch in reader.read({}, await reader.ends()) for r in batch
            ]
        assert [event["data"]["new"] for event in found[:-1]] == list(range(2_500))
        assert {event["actor"] for event in found} == {"ann"}
        assert (found[-1]["type"], found[-1]["data"]) == ("EVENTS_LOST", {"counts": {"EXECUTION_STARTED": 1}})

    asyncio.run(main())


@pytest.mark.kafka
def test_what_kafka_refuses_is_lost_alone_and_counted(
    kafka: str, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        settings = load_settings(brokers=kafka, namespace=unique, events_partitions=1)
        await ensure_bus(settings)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        smaller = {"max.message.bytes": "4000"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, events_topic(settings), smaller)])
        await admin.close()
        log = KafkaEventLog(settings, "test")
        for number in range(8):
            parameters = {"x": "x" * 5_000} if number == 3 else {"n": number}
            started = {"execution": str(number), "version": 1, "parameters": parameters}
            log.emit(EventType.EXECUTION_STARTED, "t", started)
        await log.start()
        assert await log.flush(60)
        await log.stop()
        async with BusReader(settings, events_topic(settings)) as reader:
            found = [
                orjson.loads(r.value or b"") async for batch in reader.read({}, await reader.ends()) for r in batch
            ]
        arrived = {event["data"]["execution"] for event in found if event["type"] == "EXECUTION_STARTED"}
        assert arrived == set("0124567")
        assert found[-1]["data"] == {"counts": {"EXECUTION_STARTED": 1}}
        assert log.lost_count == 1
        assert "1 events are lost, Kafka refuses them" in caplog.text

    asyncio.run(main())


def test_a_topic_that_takes_no_event_at_all_is_not_asked_without_a_pause() -> None:
    """The event that counts what is lost is refused as well, and counted by the next one."""

    class Refused(KafkaEventLog):
        attempts = 0

        async def _attempt(self, events: list[BusEvent]) -> Exception | None:
            self.attempts += 1
            await asyncio.sleep(0)
            refusal: Exception = MessageSizeTooLargeError()
            return refusal

    async def main() -> None:
        log = Refused(load_settings(), "test")
        log.emit(EventType.EXECUTION_STARTED, "t", {"execution": "1", "version": 1, "parameters": {}})
        await log.start()
        for _ in range(2_000):
            await asyncio.sleep(0)
        assert 1 <= log.attempts < 20
        assert log.lost_count == 1
        await end(log._sender)

    asyncio.run(main())
