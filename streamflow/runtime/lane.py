"""Appends to one partition: what several requests bring while a batch is on its way goes together in the next.

One batch per request would let aiokafka send one of them per round trip: a broker that answers in 15 ms then takes 66
requests a second, and whatever comes beyond that waits, longer and longer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from streamflow.runtime.hooks.sequence import OF_CONTENT, send

#: Key and value of a record.
Pair = tuple[bytes | None, bytes | None]
#: With its headers.
Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass(eq=False, slots=True)
class _Part:
    """Records of one request. `alone`: a batch for each, since only of such the headers are looked at
    (model/outcome.py). `end`: the next offset behind them, once all replicas have them."""

    timestamp_ms: int
    records: Sequence[Record]
    alone: bool
    end: "asyncio.Future[int]"
    #: Numbers of the batches with its first and its last record, and how many records the latter has up to there.
    first: int = 0
    last: int = 0
    count: int = 0


class Lane:
    """One partition. Single-threaded; keeps the order of its calls. Memory: what its callers wait for, who bound it."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self._producer, self._topic, self._partition = producer, topic, partition
        self._waiting: list[_Part] = []
        self._sending: asyncio.Task[None] | None = None

    async def append(self, timestamp_ms: int, records: Sequence[Record], *, alone: bool = False) -> int:
        """Append records; the next offset behind them once all replicas have them. Raises KafkaError.

        Of a call that is cancelled nothing is appended, or all.
        """
        part = _Part(timestamp_ms, records, alone, asyncio.get_running_loop().create_future())
        self._waiting.append(part)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name=f"append to {self._topic}/{self._partition}")
        try:
            return await part.end
        except asyncio.CancelledError:
            if part in self._waiting:
                self._waiting.remove(part)
            raise

    async def _send(self) -> None:
        while self._waiting:
            parts, self._waiting = self._waiting, []
            try:
                await self._send_together(parts)
            except Exception as error:  # whoever waits is told
                _refuse(parts, error)

    async def _send_together(self, parts: list[_Part]) -> None:
        results = [await self._ship(batch) for batch in self._batches(parts)]
        alone = []
        for part in parts:
            took = results[part.first : part.last + 1]
            error = next((each for each in took if isinstance(each, KafkaError)), None)
            if error is None:
                if not part.end.done():  # its caller may have gone
                    part.end.set_result(took[-1].offset + part.count)
            elif len(parts) > 1 and part.first == part.last and isinstance(error, OF_CONTENT):
                alone.append(part)
            else:
                _refuse([part], error)
        # A topic may take less than a batch of ours has, or one request may have brought what it does not take.
        for part in alone:
            await self._send_together([part])

    def _batches(self, parts: list[_Part]) -> list[BatchBuilder]:
        batches: list[BatchBuilder] = []
        is_closed = True
        for part in parts:
            part.first = -1
            for key, value, headers in part.records:
                record = {"timestamp": part.timestamp_ms, "key": key, "value": value, "headers": headers}
                if is_closed or part.alone or batches[-1].append(**record) is None:
                    batches.append(self._producer.create_batch())
                    batches[-1].append(**record)  # a batch takes its first record, whatever its size
                is_closed = part.alone
                if part.first < 0:
                    part.first = len(batches) - 1
            part.last, part.count = len(batches) - 1, batches[-1].record_count()
        return batches

    async def _ship(self, batch: BatchBuilder) -> RecordMetadata | KafkaError:
        batch.close()
        try:
            return await send(self._producer, batch, self._topic, self._partition)
        except KafkaError as error:
            return error


def _refuse(parts: list[_Part], error: BaseException) -> None:
    for part in parts:
        if not part.end.done():
            part.end.set_exception(error if isinstance(error, KafkaError) else KafkaError(repr(error)))
