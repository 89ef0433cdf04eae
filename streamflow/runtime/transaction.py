"""A task's producer: one checkpoint is one Kafka transaction.

    begin → outputs and changelog → source offsets with progress → await EVERY send → commit

aiokafka commits a transaction although a send in it failed (offset committed, record missing, no error), hence the
waiting for every single send before the commit. The transactional id comes from the source (application, topology,
stage, partition), so initialising it fences the task's previous owner, whoever that was.

A batch that the broker refuses as too large, although it fits the limit that is known, and a record beyond that limit
are tried again with a producer initialised anew (which aborts the transaction), after the limits were read again
(`record_limits.py`). A producer that was initialised anew must not undo a newer owner, whom it has just fenced: it goes
on only when the group's offsets are still those it committed last.

At least once: the same order without the transaction. Offsets follow in the background, the newest ones at a time,
after every send was acknowledged; the store may then be ahead of them, and recovery goes on from the store.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import groupby

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    IllegalGenerationError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RebalanceInProgressError,
    RecordListTooLargeError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.checkpoint.checkpoint import Checkpoint, Output
from streamflow.checkpoint.progress import Progress
from streamflow.engine.letters import result_letter
from streamflow.errors import Fenced, KafkaRefusal, TopicError, TransactionFailed
from streamflow.plan.topics import RECORD_MAX_BYTES
from streamflow.runtime import faults
from streamflow.runtime.announcing import Announcer
from streamflow.runtime.changelog import Changelog
from streamflow.runtime.connection import connection
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks import taint
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.hooks.filling import fill
from streamflow.runtime.record_limits import BATCH_MAX_BYTES, RecordLimits
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

_LETTER_MAX_BYTES = 64 << 10
_OFFSETS_S = 5.0
#: Nothing is left to be finished.
_CLOSE_S = 2.0
#: Attempts at a checkpoint whose records are refused as too large.
_ATTEMPTS = 6
_BACKOFF_S = 0.1

Place = tuple[str, int]
#: Commits offsets of the group outside of a transaction; for at-least-once.
CommitOffsets = Callable[[dict[TopicPartition, OffsetAndMetadata]], Awaitable[None]]


class TaskProducer:
    """Commits the checkpoints of one task. `transactional_id` None: at least once."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        transactional_id: str | None,
        dead_letters: str,
        commit_offsets: CommitOffsets,
        record_limits: RecordLimits,
        announcer: Announcer | None = None,
    ) -> None:
        self._limits, self._announcer = record_limits, announcer
        self._batch_bytes = 0
        self._base: dict[Place, tuple[int, Progress]] = {}
        taint.install()
        self._commit_offsets = commit_offsets
        self._settings = settings
        self._group = group
        self._id = transactional_id
        self._dead_letters = dead_letters
        self._producer: AIOKafkaProducer | None = None
        self._newest_offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self._offset_commit: asyncio.Task[None] | None = None
        self._mistake = faults.mistake()

    async def start(self) -> None:
        """Initialise the producer: fences the predecessor and finishes or aborts what it left open."""
        settings = self._settings
        self._batch_bytes = self._limits.batch_bytes
        self._producer = AIOKafkaProducer(
            **connection(settings),
            transactional_id=self._id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=self._batch_bytes,
            max_request_size=RECORD_MAX_BYTES + BATCH_MAX_BYTES,
            retry_backoff_ms=10,
            request_timeout_ms=max(5_000, settings.transaction_timeout_ms // 2),
        )
        try:
            await self._producer.start()
        except (ClusterAuthorizationFailedError, TransactionalIdAuthorizationFailed) as error:
            remedy = "give this worker's principal Write and Describe on its transactional id"
            raise KafkaRefusal(f"Kafka does not take the producer {self._id}: {remedy} ({error})") from error
        except KafkaError as error:
            raise TransactionFailed(f"the producer {self._id} cannot be initialised: {error!r}") from error
        faults.reach("after_init")

    def continue_from(self, positions: Mapping[Place, int], progress: Progress) -> None:
        """What the group has committed, or nothing, where the task begins."""
        self._base = {place: (offset, progress) for place, offset in positions.items()}

    async def close(self) -> None:
        """Close without finishing anything; an open transaction is aborted by the next owner or by its time-out.

        Offsets of at-least-once that are on their way are waited for, 5 s at most.
        """
        if self._offset_commit is not None:
            await asyncio.wait([self._offset_commit], timeout=_OFFSETS_S)
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await disconnect(producer, within_s=_CLOSE_S)

    async def commit(self, checkpoint: Checkpoint, changelogs: Mapping[str, Changelog]) -> dict[str, int]:
        """Send and commit a checkpoint; gives the next changelog offset per table that was written (where known).

        Raises Fenced when a newer owner exists, TopicError when a changelog does not take a row of state (nothing is
        committed), TransactionFailed for anything else: the outcome is then unknown, and the process must end.
        """
        commit = self._commit_plainly if self._id is None else self._commit_transaction
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    return await commit(checkpoint, changelogs)
                except _Unfit as unfit:
                    log.warning("%s; its limit is read again", unfit)
                    await self._renew()
                    await self._limits.settle(unfit.topic, unfit.size_bytes)
                except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                    # Nothing of it is committed, and every other send has ended too.
                    log.warning("%s: a batch within the known limits is refused (%r)", self._id, error)
                    await self._renew()
                    await self._limits.read()
                    await asyncio.sleep(_BACKOFF_S * 2**attempt)
            raise TransactionFailed(f"transaction {checkpoint.sequence} of {self._id} was refused {_ATTEMPTS} times")
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(f"a newer owner has initialised {self._id}") from error
        except KafkaError as error:
            raise TransactionFailed(f"transaction {checkpoint.sequence} of {self._id} failed: {error!r}") from error

    async def _renew(self) -> None:
        """Initialise a producer anew, which aborts what was open. Raises Fenced when somebody else has committed."""
        await self.close()
        await self.start()
        if self._id is None:
            return
        found = await committed_offsets(self._settings, self._group, [TopicPartition(*place) for place in self._base])
        for tp, committed in found.items():
            offset, progress = self._base[tp.topic, tp.partition]
            same = committed.offset == offset and Progress.decode(committed.metadata) == progress
            # Retention may have moved the beginning on, so an older offset is nobody's work.
            if committed.offset > offset or (committed.offset == offset and not same):
                raise Fenced(f"a newer owner of {self._id} has committed {tp.topic}/{tp.partition} {committed.offset}")

    async def _commit_transaction(self, checkpoint: Checkpoint, changelogs: Mapping[str, Changelog]) -> dict[str, int]:
        if taint.is_tainted(self._running()) or self._batch_bytes != self._limits.batch_bytes:
            await self._renew()
        producer = self._running()
        await producer.begin_transaction()
        faults.reach("after_begin")
        sends = await self._send_all(producer, checkpoint, changelogs)
        faults.reach("after_sends")
        await producer.send_offsets_to_transaction(self._offsets(checkpoint), self._group)
        faults.reach("after_offsets")
        offsets: dict[str, int] = {}
        if self._mistake != "commit_before_sends":
            offsets = await _settle(sends)
            if self._announcer is not None:
                await self._announce(producer, self._announcer, sends)
        faults.reach("before_commit")
        await producer.commit_transaction()
        faults.reach("after_commit")
        self.continue_from(checkpoint.positions, Progress.decode(checkpoint.progress))
        return offsets

    async def _commit_plainly(self, checkpoint: Checkpoint, changelogs: Mapping[str, Changelog]) -> dict[str, int]:
        producer = self._running()
        offsets = await _settle(await self._send_all(producer, checkpoint, changelogs))
        faults.reach("before_commit")
        self._newest_offsets = self._offsets(checkpoint)
        if self._offset_commit is None or self._offset_commit.done():
            if self._offset_commit is not None:
                self._offset_commit.result()  # a failure of the one before ends the worker
            self._offset_commit = asyncio.create_task(self._commit_newest_offsets(), name=f"offsets {self._group}")
        faults.reach("after_commit")
        return offsets

    async def _commit_newest_offsets(self) -> None:
        while self._newest_offsets:
            offsets, self._newest_offsets = self._newest_offsets, {}
            try:
                await self._commit_offsets(offsets)
            except (CommitFailedError, IllegalGenerationError, RebalanceInProgressError) as error:
                # The group moved on: whoever has the partition now commits offsets of its own.
                log.warning("offsets of %s were not taken: %s", self._group, error)

    async def settle_offsets(self) -> None:
        """Wait for offsets of at-least-once that are on their way."""
        if self._offset_commit is not None:
            await asyncio.wait([self._offset_commit])

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise TransactionFailed(f"the producer {self._id} is closed")
        return self._producer

    @staticmethod
    def _offsets(checkpoint: Checkpoint) -> dict[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(topic, partition): OffsetAndMetadata(offset, checkpoint.progress)
            for (topic, partition), offset in checkpoint.positions.items()
        }

    async def _send_all(
        self, producer: AIOKafkaProducer, checkpoint: Checkpoint, changelogs: Mapping[str, Changelog]
    ) -> "_Sends":
        sends: _Sends = []
        dead: list[Output] = []
        for (topic, partition), records in checkpoint.outputs.items():
            for group in _apart(records) if topic in checkpoint.apart else (records,):
                sends += await self._send(producer, topic, partition, group, dead, "")
        for each in checkpoint.tables:
            log_of = changelogs[each.table]
            records = log_of.records(each.changes)
            sends += await self._send(producer, log_of.topic, log_of.partition, records, dead, each.table)
        if dead:
            sends += await self._send(producer, self._dead_letters, 0, dead, [], "")
        return sends

    async def _announce(self, producer: AIOKafkaProducer, announcer: Announcer, sends: "_Sends") -> None:
        """Say where the records are that the broker has taken."""
        written = [(*place, getattr(future.result(), "offset", -1), count) for _, count, future, place in sends]
        more: _Sends = []
        for partition, records in announcer.records(written).items():
            more += await self._send(producer, announcer.topic, partition, records, [], "")
        await _settle(more)

    async def _send(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        records: list[Output],
        dead: list[Output],
        table: str,
    ) -> "_Sends":
        """Send records in as few batches as fit. A record beyond a limit that is final becomes a dead letter
        `too_large`, or raises TopicError when it is a row of `table`: the store must not have what its changelog has
        not. Beyond a limit that is not final, _Unfit is raised.
        """
        sends: _Sends = []
        limit = self._limits.bytes_for(topic)
        now_ms = int(time.time() * 1_000)  # never event time: retention would delete history
        index = 0
        while index < len(records):
            key, value, headers = records[index]
            size_bytes = _size(key, value, headers)  # a batch takes its first record, whatever its size
            if size_bytes <= limit:
                batch = producer.create_batch()
                index = fill(batch, records, index, now_ms)
                batch.close()
                sends.append(await _ship(producer, batch, topic, partition, table))
                continue
            if not self._limits.is_final(topic):
                raise _Unfit(topic, size_bytes, limit)
            if table:
                raise _unfit_state(table, topic, size_bytes, limit)
            dead.append(_too_large(topic, limit, key, value))
            index += 1
        return sends


class _Unfit(Exception):
    """A record exceeds the known limit of its topic, which may be out of date."""

    def __init__(self, topic: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a record for {topic} has {size_bytes} bytes, it takes {limit_bytes}")
        self.topic, self.size_bytes = topic, size_bytes


def _unfit_state(table: str, topic: str, size_bytes: int, limit_bytes: int) -> TopicError:
    remedy = f"kafka-configs --alter --topic {topic} --add-config max.message.bytes={RECORD_MAX_BYTES}"
    return TopicError(
        f"a row of table {table} has {size_bytes} bytes, its changelog {topic} takes {limit_bytes}: {remedy}"
    )


async def _ship(producer: AIOKafkaProducer, batch: "BatchBuilder", topic: str, partition: int, table: str) -> "_Send":
    sent = await producer.send_batch(batch, topic, partition=partition)
    return table, batch.record_count(), sent, (topic, partition)


def _apart(records: list[Output]) -> Iterator[list[Output]]:
    """The records in order, those with headers in lists of their own."""
    for _, group in groupby(records, key=lambda record: record[2] is not None):
        yield list(group)


def _size(key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] | None) -> int:
    return len(key or b"") + len(value or b"") + sum(len(name) + len(text) for name, text in headers or ())


def _too_large(topic: str, limit: int, key: bytes | None, value: bytes | None) -> Output:
    size = len(key or b"") + len(value or b"")
    message = f"the record for {topic} has {size} bytes, it takes {limit}; only its beginning is kept"
    _, start, headers = result_letter((value or b"")[:_LETTER_MAX_BYTES], topic, "too_large", message)
    return (key or b"")[:_LETTER_MAX_BYTES], start, headers


#: (table or "", records, future of the send, where to) of a batch.
_Send = tuple[str, int, "asyncio.Future[object]", Place]
_Sends = list[_Send]


async def _settle(sends: _Sends) -> dict[str, int]:
    """Wait for every send; the first failure is raised after all are settled. Next offset per changelog."""
    results = await asyncio.gather(*(future for _, _, future, _ in sends), return_exceptions=True)
    offsets: dict[str, int] = {}
    for (table, count, *_), result in zip(sends, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        # An idempotent retry may be answered without the offset; the store then keeps its older one and replays more.
        if table and getattr(result, "offset", -1) >= 0:
            offsets[table] = result.offset + count  # type: ignore[attr-defined]
    return offsets
