"""The bus as one process reads it for its HTTP clients and subscribers: one consumer for pages, one that follows.

Neither is there before somebody asks. The follower goes on where it was after a failure, so listeners miss nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.bus.event import plain_event
from streamflow.bus.feed import EventPage, FeedEvent, Listener, encode_cursor
from streamflow.bus.filter import EventFilter
from streamflow.bus.topics import events_topic
from streamflow.errors import StreamflowError
from streamflow.runtime.audit import read_page
from streamflow.runtime.bus_reader import BusReader
from streamflow.runtime.hooks.ending import end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Events looked at for one page: some 100 ms.
SCAN_MAX = 20_000
_FETCH_MS = 1_000
_BACKOFF_S = 1.0


class KafkaEventFeed:
    """Implements `bus.feed.EventFeed`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._topic = settings, events_topic(settings)
        self._pages: BusReader | None = None
        self._turn = asyncio.Lock()
        self._starting = asyncio.Lock()
        self._listeners: set[Listener] = set()
        self._positions: dict[int, int] = {}
        self._follower: asyncio.Task[None] | None = None

    async def page(self, starts: Mapping[int, int], since_ms: int | None, wanted: EventFilter, limit: int) -> EventPage:
        """See EventFeed. Pages are read one after another."""
        async with self._turn:
            try:
                if self._pages is None:
                    self._pages = await BusReader(self._settings, self._topic).__aenter__()
                if since_ms is not None:
                    starts = {**await self._pages.at_time(since_ms), **starts}
                return await read_page(self._pages, dict(starts), wanted, limit, SCAN_MAX)
            except BaseException:  # its position is unknown now: the next page begins with a new one
                await self._close_pages()
                raise

    async def _close_pages(self) -> None:
        if self._pages is not None:
            pages, self._pages = self._pages, None
            await pages.__aexit__(None, None, None)

    @asynccontextmanager
    async def following(self, listener: Listener) -> AsyncIterator[Mapping[int, int]]:
        """See EventFeed."""
        async with self._starting:
            if self._follower is None:
                async with BusReader(self._settings, self._topic) as reader:
                    self._positions = await reader.ends()
                self._follower = asyncio.create_task(self._follow(), name="event feed")
        self._listeners.add(listener)
        try:
            yield dict(self._positions)
        finally:
            self._listeners.discard(listener)

    async def _follow(self) -> None:
        while True:
            try:
                async with BusReader(self._settings, self._topic) as reader:
                    await self._read(reader)
            except (KafkaError, StreamflowError, OSError) as error:
                log.warning("the bus cannot be followed, in %.0f s again: %r", _BACKOFF_S, error)
            await asyncio.sleep(_BACKOFF_S)

    async def _read(self, reader: BusReader) -> None:
        for partition in reader.partitions:
            reader.consumer.seek(TopicPartition(self._topic, partition), self._positions.setdefault(partition, 0))
        while True:
            for tp, records in (await reader.consumer.getmany(timeout_ms=_FETCH_MS)).items():
                for record in records:
                    self._positions[tp.partition] = record.offset + 1
                    if self._listeners:
                        self._tell(tp.partition, record.offset, record.value)

    def _tell(self, partition: int, offset: int, value: bytes | None) -> None:
        decoded = plain_event(value)
        if not decoded:
            return
        event = {"partition": partition, "offset": offset, **decoded}
        told = FeedEvent(event, orjson.dumps(event), encode_cursor(self._positions))
        for listener in tuple(self._listeners):
            listener(told)

    async def stop(self) -> None:
        """Read no more."""
        await end(self._follower)
        await self._close_pages()
