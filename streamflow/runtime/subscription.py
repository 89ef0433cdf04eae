"""A subscriber in process: at least once, with acknowledgement and redelivery.

    subscription = Subscription(settings, "billing", handle, EventFilter(types=frozenset({"EXECUTION_COMPLETED"})))

Subscribers of one name share the bus's partitions, in all processes together, and each goes on where it was. `handle`
gets events of one partition in order; when it returns they are acknowledged. When it raises, the same events come again
after a pause of 0.5 s, doubling up to 30 s, without end; later events of that partition wait, those of others do not.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalGenerationError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from streamflow.bus.event import plain_event
from streamflow.bus.filter import EventFilter
from streamflow.bus.topics import events_topic
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import END_S, disconnect, end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Events of one call.
BATCH_MAX_EVENTS = 500
_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 30.0
_FETCH_MS = 500

#: Takes events of one partition, as decoded from JSON, with `partition` and `offset`.
Handle = Callable[[list[dict[str, Any]]], Awaitable[None]]


class Subscription:
    """Delivers events to a handler until it is stopped. A new name begins with the oldest event."""

    def __init__(self, settings: Settings, name: str, handle: Handle, wanted: EventFilter | None = None) -> None:
        self._settings, self._name, self._handle = settings, name, handle
        self._wanted = wanted or EventFilter()
        self._attempts: dict[TopicPartition, int] = {}
        self._due: dict[TopicPartition, float] = {}
        self._delivering = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run(), name=f"subscription {self._name}")

    async def stop(self) -> None:
        """End, when what `handle` is working on is acknowledged."""
        if self._task is not None:
            async with self._delivering:
                self._task.cancel()
            await asyncio.wait([self._task], timeout=END_S)
            await end(self._task)

    async def _run(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                events_topic(self._settings),
                **connection(self._settings),
                group_id=f"{self._settings.namespace}.subscription.{self._name}",
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
            )
            try:
                await consumer.start()
                while True:
                    await self._turn(consumer)
            except (KafkaError, OSError) as error:
                log.warning("subscription %s: Kafka does not answer, it goes on later: %r", self._name, error)
            finally:
                await disconnect(consumer)
            self._attempts.clear()
            self._due.clear()
            await asyncio.sleep(_PAUSE_FIRST_S)

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        now, assigned = time.monotonic(), consumer.assignment()
        for tp in [tp for tp, due in self._due.items() if due <= now or tp not in assigned]:
            del self._due[tp]
            if tp in assigned:
                consumer.resume(tp)
        wait_ms = max(1, min([_FETCH_MS, *(int((due - now) * 1_000) for due in self._due.values())]))
        for tp, records in (await consumer.getmany(timeout_ms=wait_ms, max_records=BATCH_MAX_EVENTS)).items():
            try:
                async with self._delivering:
                    await self._deliver(consumer, tp, records)
            except (CommitFailedError, IllegalGenerationError, IllegalStateError) as error:
                log.info("subscription %s: %s moved on, its events come again: %r", self._name, tp, error)

    async def _deliver(self, consumer: AIOKafkaConsumer, tp: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        found = [(each.offset, plain_event(each.value)) for each in records]
        wanted = [
            {"partition": tp.partition, "offset": offset, **event}
            for offset, event in found
            if event and self._wanted.matches(event)
        ]
        try:
            if wanted:
                await self._handle(wanted)
        except Exception:
            attempt = self._attempts[tp] = self._attempts.get(tp, 0) + 1
            pause_s = min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2 ** (attempt - 1))
            log.exception("subscription %s: attempt %s failed, again in %.1f s", self._name, attempt, pause_s)
            consumer.seek(tp, records[0].offset)
            consumer.pause(tp)
            self._due[tp] = time.monotonic() + pause_s
        else:
            self._attempts.pop(tp, None)
            await consumer.commit({tp: records[-1].offset + 1})
