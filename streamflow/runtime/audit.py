"""The log together with its seals, as it stands in Kafka; and pages of its events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from streamflow.bus.audit.copy import Begin, Part
from streamflow.bus.audit.digest import LogRecord
from streamflow.bus.audit.seal import Seal
from streamflow.bus.event import plain_event
from streamflow.bus.feed import EventPage
from streamflow.bus.filter import EventFilter
from streamflow.bus.topics import events_topic, seals_topic
from streamflow.errors import TopicError
from streamflow.runtime.bus_reader import BusReader
from streamflow.settings.settings import Settings


async def sealed_log(settings: Settings) -> AsyncIterator[Part]:
    """Every partition from its beginning: records, each seal behind the records that it is over.

    Raises TopicError when there is no bus, BrokerUnavailable, EventError for what should be a seal and is none.
    """
    async with BusReader(settings, events_topic(settings)) as events:
        begins = await events.begins()
        for partition in events.partitions:
            # Seals first: each of them is over records that are there by then.
            seals = [seal async for seal in _seals(settings, partition)]
            ends = await events.ends()
            yield Begin(events.topic, partition, begins[partition])
            async for batch in events.read(begins, {partition: ends[partition]}):
                for record in batch:
                    while seals and seals[0].next <= record.offset:
                        yield seals.pop(0)
                    yield record
            for seal in seals:
                yield seal


async def _seals(settings: Settings, partition: int) -> AsyncIterator[Seal]:
    try:
        async with BusReader(settings, seals_topic(settings)) as reader:
            begins, ends = await reader.begins(), await reader.ends()
            async for batch in reader.read(begins, {partition: ends[partition]}):
                for record in batch:
                    yield Seal.decode(record.value or b"")
    except TopicError:
        return  # never sealed


async def _records(batches: AsyncIterator[list[LogRecord]]) -> AsyncIterator[LogRecord]:
    async for batch in batches:
        for record in batch:
            yield record


async def read_page(
    reader: BusReader, starts: dict[int, int], wanted: EventFilter, limit: int, scan_max: int
) -> EventPage:
    """At most `limit` events that match, partition by partition, of at most `scan_max` that are looked at."""
    begins, ends = await reader.begins(), await reader.ends()
    positions = {p: max(begins[p], starts.get(p, begins[p])) for p in reader.partitions}
    events: list[dict[str, Any]] = []
    scanned = 0
    for partition in reader.partitions:
        async with aclosing(reader.read(positions, {partition: ends[partition]})) as batches:
            async for record in _records(batches):
                if len(events) >= limit or scanned >= scan_max:
                    return EventPage(events, positions, at_end=False)
                scanned += 1
                positions[partition] = record.offset + 1
                event = plain_event(record.value)
                if event and wanted.matches(event):
                    events.append({"partition": partition, "offset": record.offset, **event})
        positions[partition] = max(positions[partition], ends[partition])
    return EventPage(events, positions, at_end=True)
