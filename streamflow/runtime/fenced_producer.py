"""A transactional producer outside of the tasks, for what one process at a time may decide.

Whoever initialises the id last is the only one that can write: its predecessor's open transaction is ended first, so
what is read afterwards is final. A decision and what follows from it are one transaction.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.errors import BrokerUnavailable, Fenced, KafkaRefusal
from streamflow.plan.topics import RECORD_MAX_BYTES
from streamflow.runtime import faults
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks import taint
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]
#: Key, value, headers and timestamp in ms of a record.
Sendable = tuple[bytes | None, bytes | None, Headers, int]
#: Sends records to (topic, partition) in as few batches as fit; what it gives waits for the offset behind the last one.
Send = Callable[[str, int, Sequence[Sendable]], Awaitable[Callable[[], Awaitable[int]]]]
#: A group, and what it has committed with a transaction.
Offsets = tuple[str, dict[TopicPartition, OffsetAndMetadata]]
Result = TypeVar("Result")

_BATCH_MAX_BYTES = 1 << 20
#: How long a transaction that failed is ended for, seconds; the next of its id, or its time-out, does it otherwise.
_ABORT_S = 2.0


class FencedProducer:
    """See above. `is_spent`: it is of no further use; start another one, which will know what became of it."""

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        taint.install()
        self._id, self._limit_s = transactional_id, settings.transaction_timeout_ms / 1_000
        self._producer = AIOKafkaProducer(
            **connection(settings),
            transactional_id=transactional_id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            acks="all",
            linger_ms=0,
            max_batch_size=_BATCH_MAX_BYTES,
            max_request_size=RECORD_MAX_BYTES + _BATCH_MAX_BYTES,
            retry_backoff_ms=10,
        )
        self._failed = False

    @property
    def is_spent(self) -> bool:
        """Whether a transaction of it failed, or had a call repeated that may still linger in the network."""
        return self._failed or taint.is_tainted(self._producer)

    async def start(self) -> None:
        """Fence every other. Raises KafkaRefusal, BrokerUnavailable."""
        try:
            async with asyncio.timeout(self._limit_s):
                await self._producer.start()
        except (ClusterAuthorizationFailedError, TransactionalIdAuthorizationFailed) as error:
            remedy = "give this worker's principal Write and Describe on its transactional id"
            raise KafkaRefusal(f"Kafka does not take the producer {self._id}: {remedy} ({error})") from error
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(f"the producer {self._id} cannot be initialised: {error!r}") from error

    async def stop(self) -> None:
        """Disconnect, within 5 s; what is open is ended by the next of its id, or by its time-out."""
        await disconnect(self._producer)

    async def partition_count(self, topic: str) -> int:
        """Partitions of a topic."""
        return len(await self._producer.partitions_for(topic))

    async def transact(self, fill: Callable[[Send], Awaitable[Result]], offsets: Offsets | None = None) -> Result:
        """Commit what `fill` sends, and offsets of a group, all of it or nothing; gives what it gave.

        Raises Fenced when somebody else has initialised the id; BrokerUnavailable when the outcome is not known, or
        when it took longer than a transaction may. Both leave the producer spent.
        """
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._transact(fill, offsets)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            self._failed = True
            raise Fenced(f"somebody else has initialised {self._id}") from error
        except (KafkaError, TimeoutError) as error:
            self._failed = True
            raise BrokerUnavailable(f"a transaction of {self._id} has no known outcome: {error!r}") from error

    async def _transact(self, fill: Callable[[Send], Awaitable[Result]], offsets: Offsets | None) -> Result:
        producer, sends = self._producer, _Sends(self._producer)
        await producer.begin_transaction()
        try:
            result = await fill(sends.send)
            if offsets is not None:
                await producer.send_offsets_to_transaction(offsets[1], offsets[0])
            faults.reach("decision_sent")
            await sends.settle()
        except BaseException:
            self._failed = True  # a batch that was refused leaves a gap in the numbers of those behind it
            if producer._txn_manager.is_fatal_error():
                await producer._txn_manager.wait_for_transaction_end()  # raises what it was
            with suppress(TimeoutError):
                async with asyncio.timeout(_ABORT_S):
                    await producer.abort_transaction()
            raise
        faults.reach("decision_settled")
        await producer.commit_transaction()
        faults.reach("decision_committed")
        return result


class _Sends:
    """Batches of one transaction. aiokafka commits one although a send in it failed, so each is waited for."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._sent: list[asyncio.Future[Any]] = []

    async def send(self, topic: str, partition: int, records: Sequence[Sendable]) -> Callable[[], Awaitable[int]]:
        """See Send."""
        batch = self._producer.create_batch()
        for key, value, headers, timestamp_ms in records:
            record = {"key": key, "value": value, "headers": list(headers), "timestamp": timestamp_ms}
            if batch.append(**record) is None:
                await self._ship(batch, topic, partition)
                batch = self._producer.create_batch()
                batch.append(**record)
        return partial(_end, await self._ship(batch, topic, partition), batch.record_count())

    async def _ship(self, batch: Any, topic: str, partition: int) -> "asyncio.Future[Any]":
        batch.close()
        future: asyncio.Future[Any] = await self._producer.send_batch(batch, topic, partition=partition)
        self._sent.append(future)
        return future

    async def settle(self) -> None:
        """Wait for all; the first failure is raised."""
        for result in await asyncio.gather(*self._sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _end(sent: "asyncio.Future[Any]", count: int) -> int:
    metadata = await sent
    # A repeated send may be answered without the offset: an answer without one is none.
    if metadata.offset < 0:
        raise KafkaError("the broker did not tell the offset")
    return int(metadata.offset) + count
