"""What the copies of a mirror tell: where it goes on, and where an offset of the origin is here."""

import logging

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.errors import BrokerUnavailable, StateMismatch
from streamflow.model.chunk import Record
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Header of a copy: `<origin>/<offset>`.
MIRRORED = "sf-mirrored"
#: Offsets that are looked through from the end for the last copy, first; ten times as many each time.
_TAIL = 100
#: Offsets before and behind a position: more than regions are behind each other while they are level.
_NEAR = 1_000


async def starts_of(
    consumer: AIOKafkaConsumer, target: Settings, group: str, origin: str, places: list[TopicPartition]
) -> dict[TopicPartition, tuple[int, float | None]]:
    """Where a mirror goes on in each partition of the source, behind what was copied; and what its positions say of the
    time until which all was here, Unix time in s.

    Positions that the broker has forgotten are found again in the last copy. Raises StateMismatch when the source
    ends before that, KafkaError, BrokerUnavailable.
    """
    try:
        committed = await committed_offsets(target, group, places)
    except KafkaError as error:
        raise BrokerUnavailable(f"the positions of {group} cannot be read: {error!r}") from error
    first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    starts: dict[TopicPartition, tuple[int, float | None]] = {}
    for tp in places:
        found = committed.get(tp)
        offset = await behind_last_copy(target, origin, tp) if found is None else found.offset
        if offset > last[tp]:
            raise StateMismatch(
                f"{tp.topic}/{tp.partition} was copied up to {offset}, but ends at {last[tp]} in {origin}: it was "
                f"recreated there. Delete it here and let it be copied anew, or take another --name"
            )
        if 0 < offset < first[tp]:
            log.error("%s/%s: records %s to %s are gone by retention before they were copied", *tp, offset, first[tp])
        starts[tp] = max(offset, first[tp]), float(found.metadata) if found and found.metadata else None
    return starts


async def behind_last_copy(target: Settings, origin: str, tp: TopicPartition) -> int:
    """The origin's offset behind the last copy, 0 when there is none. Raises BrokerUnavailable."""
    async with CommittedLog(target, tp.topic, tp.partition) as found:
        span, end = _TAIL, found.end
        while end > found.begin:
            start = max(found.begin, found.end - span)
            offsets = [
                offset async for record in found.records(start, end) if (offset := born_at(record, origin)) is not None
            ]
            if offsets:
                return offsets[-1] + 1
            span, end = span * 10, start
    return 0


async def translate(target: Settings, origin: str, topic: str, partition: int, offset: int) -> int:
    """Where an offset of the origin is here: behind the copies of all smaller ones.

    Looks at some 20 records; where records were published here too, at those between two copies as well. Raises
    BrokerUnavailable.
    """
    async with CommittedLog(target, topic, partition) as found:
        low, high = found.begin, found.end  # before `low` are copies of smaller offsets only, from `high` on none
        while low < high:
            middle = (low + high) // 2
            copy = await _first_copy(found, origin, middle)
            if copy is None or copy[1] >= offset:
                high = middle
            else:
                low = copy[0] + 1
        return low


async def copies(target: Settings, origin: str, topic: str, partition: int, offsets: frozenset[int]) -> frozenset[int]:
    """Where copies of these offsets of the origin are here. Raises BrokerUnavailable."""
    found: set[int] = set()
    if offsets:
        start = await translate(target, origin, topic, partition, min(offsets))
        async with CommittedLog(target, topic, partition) as here:
            async for record in here.records(start):
                offset = born_at(record, origin)
                if offset in offsets:
                    found.add(record.offset)
                if offset is not None and offset >= max(offsets):
                    break
    return frozenset(found)


async def has_others(target: Settings, origin: str, topic: str, partition: int, position: int) -> bool:
    """Whether records that are no copies from the origin lie near a position here. Raises BrokerUnavailable."""
    async with CommittedLog(target, topic, partition) as here:
        async for record in here.records(position - _NEAR, position + _NEAR):
            if born_at(record, origin) is None:
                return True
    return False


async def _first_copy(found: CommittedLog, origin: str, start: int) -> tuple[int, int] | None:
    async for record in found.records(start):
        offset = born_at(record, origin)
        if offset is not None:
            return record.offset, offset
    return None


def born_at(record: Record, origin: str) -> int | None:
    """The offset of a copy in its origin, None for what was born here or elsewhere."""
    for name, value in record.headers:
        if name == MIRRORED and value is not None:
            region, _, offset = value.decode(errors="replace").rpartition("/")
            return int(offset) if region == origin and offset.isdecimal() else None
    return None
