"""Subscribers in process: every event at least once, in order, again after a failure, and on from where they were."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streamflow.bus.event_types import EventType
from streamflow.bus.filter import EventFilter
from streamflow.runtime.event_log import KafkaEventLog
from streamflow.runtime.subscription import Handle, Subscription
from streamflow.runtime.topics import ensure_bus
from streamflow.settings.settings import Settings, load_settings

pytestmark = pytest.mark.kafka

_WANTED = EventFilter(types=frozenset({"SCALED"}), topology="t")


async def _emit(settings: Settings, numbers: range) -> None:
    log = KafkaEventLog(settings, "test")
    await log.start()
    for number in numbers:
        log.emit(EventType.SCALED, f"t/{number % 5}", {"old": 0, "new": number})
        log.emit(EventType.WORKER_STOPPED, "t", {"worker": "nobody wants this"})
    assert await log.flush(60)
    await log.stop()


def test_events_come_again_until_they_are_acknowledged(kafka: str, unique: str) -> None:
    async def main() -> None:
        settings = load_settings(brokers=kafka, namespace=unique, events_partitions=2)
        await ensure_bus(settings)
        await _emit(settings, range(40))
        await _scribble(kafka, f"{unique}.events")
        seen: dict[str, list[int]] = {}
        enough = asyncio.Event()
        done: list[int] = []
        failures: list[int] = []

        async def failing(events: list[dict[str, Any]]) -> None:
            if len(failures) < 3:
                failures.append(events[0]["data"]["new"])
                raise OSError("the other side is down")
            for event in events:
                seen.setdefault(event["subject"], []).append(event["data"]["new"])
                done.append(event["data"]["new"])
            if len(done) == 40:
                enough.set()

        await _with(settings, failing, enough)
        assert len(failures) == 3, "each failure brought the same events again"
        assert sorted(done) == list(range(40))
        assert all(numbers == sorted(numbers) for numbers in seen.values()), "in order, per subject"

        # The next one of that name goes on behind what was acknowledged.
        await _emit(settings, range(40, 50))
        rest: list[int] = []

        async def taking(events: list[dict[str, Any]]) -> None:
            rest.extend(event["data"]["new"] for event in events)
            if len(rest) == 10:
                enough.set()

        enough.clear()
        await _with(settings, taking, enough)
        assert sorted(rest) == list(range(40, 50))

    asyncio.run(main())


async def _scribble(kafka: str, topic: str) -> None:
    """What somebody else may write to the topic; it must stop nobody."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for value in (
            b"junk",
            None,
            b"[]",
            b'{"type": "SCALED\\nid: 1"}',
            b'{"type": "SCALED", "severity": {}, "time": 7}',
        ):
            await producer.send_and_wait(topic, value, b"key", partition=0)


async def _with(settings: Settings, handle: Handle, enough: asyncio.Event) -> None:
    subscription = Subscription(settings, "test", handle, _WANTED)
    await subscription.start()
    await asyncio.wait_for(enough.wait(), 60)
    await subscription.stop()
