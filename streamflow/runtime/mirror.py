"""Copies topics of another region's Kafka into ours: every committed record once, in its partition and order.

    source    read-committed, whole batches: the copy of a batch has its records, keys, headers and times, and its
              borders where they tell something (who is followed is written alone; times are judged by a batch's last)
    target    one transaction per round: the copies, and the source's next offsets as offsets of the mirror's group
    header    `sf-mirrored: <origin>/<offset>` on every copy: where it was born. What has it is not copied on, so two
              regions may mirror each other; and where an offset of the origin is here is found in the log itself
    letters   an event that was redriven is not copied: it is here already, and failed or not by itself

One mirror of a name works at a time: a second one fences the first, which ends. Whatever else fails is begun anew from
what is committed, so a kill leaves neither gap nor double.

Memory: what the fetcher holds (STREAMFLOW_FETCH_MAX_BYTES per partition, one fetch ahead), as much unpacked, and one
batch of 1 MiB per partition on its way.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.model.letter import LETTER
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.fenced_producer import FencedProducer, Send, Sendable
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.drain import CopiedBatch
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.mirror_log import MIRRORED, starts_of
from streamflow.runtime.mirror_topics import MirroredTopic, mirror_topics
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Batches of a partition in one transaction: each may need a round trip, and all must fit into the transaction's time.
#: After a session that copied nothing the next one takes a quarter.
_BATCHES_MAX = 200
_FETCH_S = 0.5
#: Positions are committed again after so long without records: the broker forgets offsets that nobody commits.
_REFRESH_S = 600.0
#: Pauses between attempts while a region does not answer, seconds: doubled each time.
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 15.0
#: A record in a batch takes so many bytes more than its parts, at most.
_RECORD_BYTES = 64
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(frozen=True, slots=True)
class Mirror:
    """What is copied from where. source, target: how to connect to each; origin: the source region's name.

    name: mirrors of other names, for other topics, may work beside it.
    """

    source: Settings
    target: Settings
    origin: str
    topics: tuple[str, ...]
    name: str = "mirror"

    @property
    def identity(self) -> str:
        """Its group in the target, and behind `sf.` its transactional id."""
        return f"{self.target.application}.{self.name}.{self.origin}"


@dataclass(slots=True)
class PartitionFigures:
    """copied: records since the start. lag: offsets of the source not copied yet. complete_at: everything that was
    committed in the source until then, Unix time in s, is here; mark: a later moment and the end of the source then,
    which is being copied."""

    copied: int = 0
    lag: int | None = None
    complete_at: float = field(default_factory=time.time)
    mark: tuple[float, int] | None = None

    def look(self, position: int, end: int, at: float) -> None:
        """The source ended there at that moment, and is copied up to `position`."""
        self.lag = max(0, end - position)
        if self.mark is None:  # while events flow the newest end is never reached, but this one is
            self.mark = at, end
        if position >= self.mark[1]:
            self.complete_at = at if self.lag == 0 else self.mark[0]
            self.mark = None


Tell = Callable[[TopicPartition, PartitionFigures], None]


async def run_mirror(mirror: Mirror, tell: Tell) -> None:
    """Copy until cancelled. tell: is called with what has changed, some times a second.

    While a region does not answer it tries again, after 15 s at most. Raises Fenced when another one of its name
    has begun, TopicError, StateMismatch and KafkaRefusal for what does not heal.
    """
    figures: dict[TopicPartition, PartitionFigures] = {}
    pause_s, batches_max = _BACKOFF_S, _BATCHES_MAX
    while True:
        session = _Session(mirror, figures, tell, batches_max)
        try:
            await session.run()
        except (BrokerUnavailable, KafkaError) as failure:
            error = failure if isinstance(failure, BrokerUnavailable) else await unavailable(mirror.source, failure)
            if isinstance(error.__cause__, _TOO_LARGE):
                raise TopicError(
                    f"a record is too large for the target: raise max.message.bytes there ({error})"
                ) from error
            if not isinstance(error, BrokerUnavailable):
                raise error from failure
            pause_s = _BACKOFF_S if session.has_copied else min(pause_s * 2, _BACKOFF_MAX_S)
            batches_max = _BATCHES_MAX if session.has_copied else max(1, batches_max // 4)
            log.warning("mirror of %s: %s; again in %.1f s", mirror.origin, error, pause_s)
            for tp, each in figures.items():
                tell(tp, each)
            await asyncio.sleep(pause_s)


class _Session:
    """From connecting to the first failure. `figures` outlive it."""

    def __init__(
        self, mirror: Mirror, figures: dict[TopicPartition, PartitionFigures], tell: Tell, batches_max: int
    ) -> None:
        self.has_copied, self._batches_max = False, batches_max
        self._mirror, self._figures, self._tell = mirror, figures, tell
        self._producer = FencedProducer(mirror.target, f"sf.{mirror.identity}")
        settings = mirror.source
        self._consumer = AIOKafkaConsumer(
            **connection(settings),
            client_rack=settings.client_rack or None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=settings.fetch_max_bytes,
            fetch_max_wait_ms=100,
        )
        self._positions: dict[TopicPartition, int] = {}
        self._committed_at: dict[TopicPartition, float] = {}

    async def run(self) -> None:
        """See run_mirror; raises BrokerUnavailable, KafkaError too."""
        drain.install()
        topics = await mirror_topics(self._mirror.source, self._mirror.target, self._mirror.topics)
        await self._producer.start()
        try:
            await self._consumer.start()
            places = [TopicPartition(name, each) for name, topic in topics.items() for each in range(topic.partitions)]
            self._consumer.assign(places)
            mirror = self._mirror
            starts = await starts_of(self._consumer, mirror.target, mirror.identity, mirror.origin, places)
            for tp, (offset, complete_at) in starts.items():
                self._consumer.seek(tp, offset)
                self._figures.setdefault(tp, PartitionFigures(complete_at=complete_at or time.time()))
                self._positions[tp] = offset
            while True:
                found = await drain.next_batches(self._consumer, _FETCH_S)
                await self._copy(topics, {tp: (deque(batches), end) for tp, (batches, end) in found.items()})
                self._look(topics)
        finally:
            await asyncio.gather(disconnect(self._consumer), self._producer.stop())

    async def _copy(
        self, topics: Mapping[str, MirroredTopic], waiting: dict[TopicPartition, tuple[deque[CopiedBatch], int]]
    ) -> None:
        now = time.monotonic()
        due = [tp for tp, at in self._committed_at.items() if now - at > _REFRESH_S]
        while waiting or due or len(self._committed_at) < len(self._positions):
            parts: dict[TopicPartition, list[list[Sendable]]] = {}
            for tp, (batches, end) in list(waiting.items()):
                taken = [batches.popleft() for _ in range(min(len(batches), self._batches_max))]
                parts[tp] = grouped(taken, self._mirror.origin, topics[tp.topic].batch_bytes)
                self._positions[tp] = taken[-1].next_offset if batches else end
                if not batches:
                    del waiting[tp]
            await self._commit(parts, self._positions if due or not self._committed_at else dict.fromkeys(parts))
            due = []

    async def _commit(
        self, parts: Mapping[TopicPartition, list[list[Sendable]]], places: Mapping[TopicPartition, object]
    ) -> None:
        async def fill(send: Send) -> None:
            async def fill_partition(tp: TopicPartition, groups: list[list[Sendable]]) -> None:
                for group in groups:
                    await send(tp.topic, tp.partition, group)

            await asyncio.gather(*(fill_partition(tp, groups) for tp, groups in parts.items()))

        known = {tp: f"{self._figures[tp].complete_at:.3f}" for tp in places}
        offsets = {tp: OffsetAndMetadata(self._positions[tp], said) for tp, said in known.items()}
        await self._producer.transact(fill, (self._mirror.identity, offsets))
        if self._producer.is_spent:
            raise BrokerUnavailable("a call of the producer was repeated: it is initialised anew")
        self._committed_at |= dict.fromkeys(places, time.monotonic())
        for tp, groups in parts.items():
            copied = sum(map(len, groups))
            self._figures[tp].copied += copied
            self.has_copied |= copied > 0

    def _look(self, topics: Mapping[str, MirroredTopic]) -> None:
        """Tell how far each partition is. Raises TopicError when the source has got more of them."""
        for name, topic in topics.items():
            count = len(self._consumer.partitions_for_topic(name) or ())
            if count > topic.partitions:
                raise TopicError(
                    f"{name} has {count} partitions in {self._mirror.origin} now, and fewer here: add them"
                )
        for tp, figures in self._figures.items():
            end, polled_ms = self._consumer.last_stable_offset(tp), self._consumer.last_poll_timestamp(tp)
            if end is not None and polled_ms is not None:
                figures.look(self._positions[tp], end, polled_ms / 1_000)
            self._tell(tp, figures)


def grouped(batches: list[CopiedBatch], origin: str, limit_bytes: int) -> list[list[Sendable]]:
    """Batches to be written, of batches that were read, without what was copied before or redriven.

    Batches are put together where nobody can tell the difference: their newest times are the same, and none is a
    record that was written alone and has headers. One larger than `limit_bytes` is parted.
    """
    groups: list[list[Sendable]] = []
    newest_ms, size_bytes, is_open = -1, 0, False
    for batch in batches:
        stands_alone = batch.is_alone and any(record.headers for record in batch.records)
        is_open = is_open and batch.newest_ms == newest_ms and not stands_alone
        if batch.is_alone and any(name == LETTER for record in batch.records for name, _ in record.headers):
            continue
        for record in batch.records:
            if any(name == MIRRORED for name, _ in record.headers):
                continue
            born = (MIRRORED, f"{origin}/{record.offset}".encode())
            headers = (*record.headers, born)
            needed = _RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
            needed += sum(len(name) + len(value or b"") + 10 for name, value in headers)
            if not is_open or size_bytes + needed > limit_bytes:
                groups.append([])
                size_bytes, is_open = 0, True
            groups[-1].append((record.key, record.value, headers, record.timestamp_ms))
            size_bytes += needed
        newest_ms, is_open = batch.newest_ms, is_open and not stands_alone
    return groups
