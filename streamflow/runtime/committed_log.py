"""One partition, read from outside of the group: committed records up to the end as it was when it was opened."""

import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.errors import BrokerUnavailable
from streamflow.model.chunk import Record
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

#: Without a record or a step for so long, the broker is not there.
_SILENCE_S = 20.0


class CommittedLog:
    """Use as `async with`. `begin` and `end`: its offsets. Raises BrokerUnavailable."""

    def __init__(self, settings: Settings, topic: str, partition: int = 0) -> None:
        self.begin = self.end = 0
        self._place = TopicPartition(topic, partition)
        self._consumer = AIOKafkaConsumer(
            **connection(settings),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            self._consumer.assign([self._place])
            self.begin = (await self._consumer.beginning_offsets([self._place]))[self._place]
            self.end = (await self._consumer.end_offsets([self._place]))[self._place]
        except KafkaError as error:
            await disconnect(self._consumer)
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await disconnect(self._consumer)

    async def offset_at(self, time_ms: int) -> int:
        """The first offset whose record is not older than a time; the end when all are."""
        try:
            found = (await self._consumer.offsets_for_times({self._place: time_ms}))[self._place]
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error
        return self.end if found is None else int(found.offset)

    async def records(self, start: int = 0, end: int | None = None) -> AsyncIterator[Record]:
        """Records from `start` to before `end`."""
        end = self.end if end is None else min(end, self.end)
        position = max(start, self.begin)
        self._consumer.seek(self._place, position)
        heard = time.monotonic()
        try:
            while position < end:
                found = (await self._consumer.getmany(self._place, timeout_ms=500)).get(self._place, [])
                for each in found:
                    if each.offset >= end:
                        return
                    yield Record(each.offset, each.key, each.value, each.timestamp, tuple(each.headers))
                before, position = position, await self._consumer.position(self._place)
                if position != before:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENCE_S:
                    raise BrokerUnavailable(f"{self._place.topic} gave nothing for {_SILENCE_S:.0f} s")
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error
