"""Follows the outcome topic for one HTTP process: committed parts, from some minutes ago on."""

import asyncio
import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.errors import BrokerUnavailable
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect, end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)


class OutcomeFollower:
    """Gives every part to `on_part`. Nothing is read before `follow` is called the first time."""

    def __init__(self, settings: Settings, topic: str, back_s: float, on_part: Callable[[bytes], None]) -> None:
        self._settings, self._place, self._back_s, self._on_part = settings, TopicPartition(topic, 0), back_s, on_part
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def follow(self) -> None:
        """Read from `back_s` ago on; returns when the position is known, so no later part is missed. Idempotent.

        After a failure of the broker the next call starts again. Raises BrokerUnavailable.
        """
        async with self._starting:
            if self._reading is not None and not self._reading.done():
                return
            consumer = AIOKafkaConsumer(
                **connection(self._settings),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
            )
            try:
                await consumer.start()
                consumer.assign([self._place])
                since_ms = int((time.time() - self._back_s) * 1_000)
                found = (await consumer.offsets_for_times({self._place: since_ms}))[self._place]
                end = (await consumer.end_offsets([self._place]))[self._place]
                consumer.seek(self._place, end if found is None else found.offset)
            except KafkaError as error:
                await disconnect(consumer)
                raise BrokerUnavailable(f"{self._place.topic} cannot be followed: {error!r}") from error
            self._reading = asyncio.create_task(self._read(consumer), name="outcomes")

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            async for record in consumer:
                self._on_part(record.value)
        except KafkaError as error:
            log.warning("%s is not followed any more: %r", self._place.topic, error)
        finally:
            await disconnect(consumer)

    async def stop(self) -> None:
        """Read no more."""
        await end(self._reading)
