"""Reads events for whoever looks on: no group, no offsets, nothing that workers could notice."""

import heapq

from streamflow.errors import UserError
from streamflow.model.codec import time_ms
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.runs import EARLIEST
from streamflow.runtime.topics import partition_counts
from streamflow.settings.settings import Settings


async def read_events(settings: Settings, topics: list[str], start: str, count: int) -> list[tuple[str, bytes, int]]:
    """(topic, value, when it was written in ms) of the first `count` committed records from a place on, in that order.

    start: `earliest`, or an ISO 8601 time of the records. Raises UserError, BrokerUnavailable.
    """
    try:
        since_ms = None if start == EARLIEST else time_ms(start)
    except ValueError as error:
        raise UserError(f"--from {start!r} is no place: give `earliest`, or an ISO 8601 time") from error
    found: list[tuple[int, int, int, int, bytes]] = []
    for number, (topic, partitions) in enumerate((await _counts(settings, topics)).items()):
        for partition in range(partitions):
            async with CommittedLog(settings, topic, partition) as log:
                taken = 0
                async for record in log.records(log.begin if since_ms is None else await log.offset_at(since_ms)):
                    if record.value is not None:
                        found.append((record.timestamp_ms, number, partition, record.offset, record.value))
                        taken += 1
                        if taken == count:
                            break
    return [(topics[number], value, at_ms) for at_ms, number, _, _, value in heapq.nsmallest(count, found)]


async def read_rows(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """The rows of a global table as of now, by key. Raises UserError, BrokerUnavailable."""
    rows: dict[bytes, bytes] = {}
    for partition in range((await _counts(settings, [topic]))[topic]):
        async with CommittedLog(settings, topic, partition) as log:
            async for record in log.records():
                if record.value is None:
                    rows.pop(record.key or b"", None)
                else:
                    rows[record.key or b""] = record.value
    return rows


async def _counts(settings: Settings, topics: list[str]) -> dict[str, int]:
    counts = await partition_counts(settings, topics)
    missing = [topic for topic in topics if topic not in counts]
    if missing:
        raise UserError(f"Kafka has no topic {', '.join(missing)}")
    return {topic: counts[topic] for topic in topics}
