"""Seals the bus: one worker of the namespace per partition, as their consumer group deals them out.

A seal says where it ends, so the last one is the position to go on from: nothing is committed to the group. Two sealers
at once, for a moment after a rebalance, write seals that overlap and agree (`bus/audit/seal.py`).
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.bus.audit.digest import LogRecord
from streamflow.bus.audit.keys import Signer
from streamflow.bus.audit.seal import Seal, make_seal
from streamflow.bus.topics import EVENT_MAX_BYTES, events_topic, seals_topic
from streamflow.errors import EventError, StreamflowError
from streamflow.runtime.bus_reader import BusReader, as_log_record
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import END_S, disconnect, end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Records under one seal; its 32-byte digests make some 45 KB.
SEAL_MAX_RECORDS = 1_000
_FETCH_MS = 500
_BACKOFF_S = 5.0


@dataclass(slots=True)
class _Stretch:
    """Records of a partition since its last seal."""

    last: Seal | None
    since: float = 0.0
    records: list[LogRecord] = field(default_factory=list)


class Sealer(ConsumerRebalanceListener):  # type: ignore[misc]
    """A worker's companion. Failures are said in the log and tried again: sealing late is better than not working."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._signer = settings, Signer.load(settings.audit_key)
        self._stretches: dict[int, _Stretch] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run(), name="sealer")

    async def stop(self) -> None:
        """Seal what has come (5 s at most), and leave the group; what cannot be sealed now the next sealer does."""
        if self._task is None:
            return
        self._is_stopping = True
        self._task.cancel()
        await asyncio.wait([self._task], timeout=END_S)
        await end(self._task)

    async def _run(self) -> None:
        while not self._is_stopping:  # a failure to seal while it is cancelled takes the place of the cancellation
            try:
                await self._seal_on()
            except (KafkaError, StreamflowError, OSError) as error:
                log.warning("the bus is not sealed at the moment, in %.0f s again: %r", _BACKOFF_S, error)
            if not self._is_stopping:
                await asyncio.sleep(_BACKOFF_S)

    async def _seal_on(self) -> None:
        kafka = connection(self._settings)
        self._consumer = AIOKafkaConsumer(
            **kafka,
            group_id=f"{self._settings.namespace}.bus-sealer",  # no topology, and so none of their groups, is called so
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._producer = AIOKafkaProducer(
            **kafka, enable_idempotence=True, acks="all", max_request_size=EVENT_MAX_BYTES
        )
        try:
            await self._producer.start()
            await self._consumer.start()
            self._consumer.subscribe([events_topic(self._settings)], listener=self)
            while True:
                await self._look()
        except asyncio.CancelledError:
            await self._seal_all()
            raise
        finally:
            self._stretches.clear()
            await disconnect(self._consumer, self._producer)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """What was gathered is sealed by the next owner."""
        self._stretches.clear()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Go on behind the last seal of each partition."""
        assert self._consumer is not None
        if not assigned:
            return
        async with BusReader(self._settings, seals_topic(self._settings)) as seals:
            for tp in assigned:
                last = await _last_seal(seals, tp.partition)
                self._stretches[tp.partition] = _Stretch(last)
                self._consumer.seek(tp, 0 if last is None else last.next)

    async def _look(self) -> None:
        assert self._consumer is not None
        for tp, records in (await self._consumer.getmany(timeout_ms=_FETCH_MS)).items():
            stretch = self._stretches.get(tp.partition)
            if stretch is not None:
                stretch.since = stretch.since if stretch.records else time.monotonic()
                stretch.records += map(as_log_record, records)
        due = time.monotonic() - self._settings.audit_seal_interval_ms / 1_000
        for stretch in list(self._stretches.values()):
            while len(stretch.records) >= SEAL_MAX_RECORDS or (stretch.records and stretch.since <= due):
                await self._seal(stretch)

    async def _seal_all(self) -> None:
        for stretch in list(self._stretches.values()):
            while stretch.records:
                await self._seal(stretch)

    async def _seal(self, stretch: _Stretch) -> None:
        assert self._producer is not None
        records = stretch.records[:SEAL_MAX_RECORDS]
        now_ms = int(time.time() * 1_000)
        topic = events_topic(self._settings)
        made = make_seal(topic, records, stretch.last, records[-1].offset + 1, now_ms, self._signer)
        partition = records[0].partition
        await self._producer.send_and_wait(seals_topic(self._settings), made.encode(), partition=partition)
        stretch.last, stretch.records = made, stretch.records[SEAL_MAX_RECORDS:]


async def _last_seal(seals: BusReader, partition: int) -> Seal | None:
    """The last seal of a partition. One that is none is left to `audit verify`, and the chain begins anew."""
    record = await seals.last(partition)
    if record is None:
        return None
    try:
        return Seal.decode(record.value or b"")
    except EventError as error:
        log.error("the last seal of partition %s cannot be read, sealing begins anew: %s", partition, error)
        return None
