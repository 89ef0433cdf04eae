"""Private hook into aiokafka's fetcher: take a partition's record batches as columns instead of record objects.

aiokafka keeps what it fetched as `PartitionRecords` around lazy `MemoryRecords`, and unpacks records one by one into
`ConsumerRecord` objects (0.6 to 0.9 µs each). Taking the values of a whole batch costs 0.07 µs a record. Group
membership, positions, seek and fetching stay aiokafka's.

Skipped like aiokafka skips them: control batches, batches of aborted transactions, and the part of a batch that lies
before the position (a seek into its middle). Compressed batches unpack as they are iterated.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from streamflow.errors import ExternalError
from streamflow.model.chunk import Chunk, Mark, Record, Run
from streamflow.model.letter import redriven_time
from streamflow.model.outcome import CORRELATION, PIECE, bounded_id
from streamflow.model.parking import PARKED
from streamflow.model.trace_context import TRACEPARENT, TraceContext, sampled_context

_Read = TypeVar("_Read")
#: A watermark on a repartition topic begins so, where data records begin with "[". It is the last of its batch.
MARK = b"{"


class KeptRecords(MemoryRecords):
    """MemoryRecords that remembers its bytes, so that single records can be read again whole."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


def install() -> None:
    """Let aiokafka's fetcher make KeptRecords. Idempotent."""
    aiokafka_fetcher.MemoryRecords = KeptRecords


def take(
    result: FetchResult,
    topic: str,
    partition: int,
    *,
    marks: bool,
    timestamps: bool,
    traces: bool = False,
    headers: bool = False,
) -> Chunk | None:
    """Everything of a fetch result as one chunk, None when it is stale (rebalance, pause or seek since).

    marks: split off in-band watermarks. timestamps: fill the timestamp column. traces: look for trace contexts.
    headers: look for ids of executions in every record. The consumer's position moves behind it.
    """
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return None
    records: PartitionRecords = result._partition_records
    chunk = read(records, topic, partition, marks=marks, timestamps=timestamps, traces=traces, headers=headers)
    result._update_position()
    result._partition_records = None
    records._records_iterator = None
    return chunk


def read(
    records: PartitionRecords,
    topic: str,
    partition: int,
    *,
    marks: bool,
    timestamps: bool,
    traces: bool = False,
    headers: bool = False,
) -> Chunk:
    """Drain PartitionRecords into a chunk; `records.next_fetch_offset` moves behind it."""
    source = records._records
    data: bytes = source.data
    columns = _Columns(data, marks, timestamps, traces, headers)
    start = position = records.next_fetch_offset
    committed_only = records._isolation_level == READ_COMMITTED
    while source.has_next():
        batch = source.next_batch()
        if records._check_crcs and not batch.validate_crc():
            raise ExternalError(
                f"a record batch of {topic}/{partition} at offset {batch.base_offset} has a wrong checksum"
            )
        if not _is_skipped(records, batch, committed_only):
            columns.add(batch, position)
        position = batch.next_offset
    records.next_fetch_offset = position
    return Chunk(
        topic,
        partition,
        columns.values,
        columns.runs,
        position,
        marks=columns.marks,
        record_at=_Again(data),
        position=start,
        timestamps=columns.timestamps,
        correlations=columns.correlations,
        traces=columns.traces,
        pieces=columns.pieces,
        returned=columns.returned,
        size_bytes=len(data),
        fetched_at_ms=int(time.time() * 1_000),
    )


def _is_skipped(records: PartitionRecords, batch: Any, committed_only: bool) -> bool:
    if committed_only and batch.producer_id is not None:
        records._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and records._contains_abort_marker(batch):
            records._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in records._aborted_producers:
            return True
    return bool(batch.is_control_batch)


class _Columns:
    """Gathers the columns of a chunk batch by batch."""

    def __init__(self, data: bytes, marks: bool, timestamps: bool, traces: bool, headers: bool) -> None:
        self._data = data
        self.values: list[bytes | None] = []
        self.runs: list[Run] = []
        self.marks: list[Mark] = []
        self.correlations: dict[int, bytes] = {}
        self.traces: dict[int, TraceContext] = {}
        self.pieces: set[int] = set()
        self.returned: dict[int, bytes] = {}
        self.timestamps: list[int] | None = [] if timestamps else None
        self._split_marks, self._traces, self._headers = marks, traces, headers

    def add(self, batch: Any, position: int) -> None:
        base, newest = batch.base_offset, batch.max_timestamp
        start = len(self.values)
        # Records that are followed come in batches of their own, so that no others need to show their headers: alone,
        # or on internal topics (only they have marks) with their like. Those that strangers trace, or name where that
        # is declared, may come in any batch.
        alone = batch.next_offset - base == 1
        ours, records = alone or self._headers, batch
        if self._split_marks and not ours:
            records = islice(batch, None)  # a batch lets itself be iterated once
            first = next(records, None)
            if first is None:
                return
            ours, records = bool(first.headers), chain((first,), records)
        strange = self._traces and not self._split_marks
        whole = base >= position and self.timestamps is None and not ours
        if whole and strange:
            self.values += [record.value for record in records if not record.headers]
        elif whole:
            self.values += [record.value for record in records]
        if not whole or len(self.values) - start != batch.next_offset - base:
            # Cut by the position, thinned by compaction (offsets are no longer base, base + 1, …), or with headers.
            del self.values[start:]
            again = _again(self._data, base) if whole else records
            self._add_singly(again, position, newest, headed=ours or strange, ours=ours, alone=alone)
        elif len(self.values) > start:
            self.runs.append(Run(start, base, newest))
        if self._split_marks and len(self.values) > start:
            last = self.values[-1]
            if last and last[:1] == MARK:
                self.values.pop()
                if self.timestamps is not None:
                    self.timestamps.pop()
                if self.runs[-1].index == len(self.values):
                    self.runs.pop()
                self.marks.append(Mark(len(self.values), last))

    def _add_singly(
        self, batch: Iterable[Any], position: int, newest: int, *, headed: bool, ours: bool, alone: bool
    ) -> None:
        after = -1
        for record in batch:
            if record.offset < position:
                continue
            timestamp = record.timestamp
            if headed and record.headers:
                headers = dict(record.headers)
                if ours and headers.get(CORRELATION):
                    self.correlations[len(self.values)] = bounded_id(headers[CORRELATION])
                    if PIECE in headers:
                        self.pieces.add(len(self.values))
                    if alone and PARKED in headers:
                        self.returned[len(self.values)] = headers[PARKED]
                    if alone:
                        timestamp = newest = redriven_time(headers, newest)
                trace = sampled_context(headers.get(TRACEPARENT)) if self._traces else None
                if trace is not None:
                    self.traces[len(self.values)] = trace
            if record.offset != after:
                self.runs.append(Run(len(self.values), record.offset, newest))
            after = record.offset + 1
            self.values.append(record.value)
            if self.timestamps is not None:
                self.timestamps.append(timestamp)


def _again(data: bytes, base_offset: int) -> Any:
    """A batch can be iterated once; this gives it afresh."""
    source = MemoryRecords(data)
    while source.has_next():
        batch = source.next_batch()
        if batch.base_offset == base_offset:
            return batch
    raise LookupError(f"no batch at offset {base_offset}")


class _Again:
    """Reads single records of fetched bytes whole, some 2 µs each in ascending order, as it goes through them once.

    Keeps the records of the batch at hand. Raises LookupError for an offset that is not there.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._ahead = data, MemoryRecords(data)
        self._records: dict[int, Record] = {}

    def __call__(self, offset: int) -> Record:
        if offset not in self._records and not self._go_to(offset):
            self._ahead = MemoryRecords(self._data)
            self._go_to(offset)
        return self._records[offset]

    def _go_to(self, offset: int) -> bool:
        """Keep the records of the batch that an offset is in, if it is further on."""
        while self._ahead.has_next():
            batch = self._ahead.next_batch()
            if batch.is_control_batch or batch.next_offset <= offset:
                continue
            records = ((record, tuple((name, value) for name, value in record.headers)) for record in batch)
            self._records = {
                record.offset: Record(record.offset, record.key, record.value, record.timestamp, headers)
                for record, headers in records
            }
            return offset in self._records
        return False


class CopiedBatch(NamedTuple):
    """A record batch as it is copied elsewhere. newest_ms: its greatest timestamp. is_alone: it was written with one
    record in it. next_offset: behind it."""

    newest_ms: int
    is_alone: bool
    next_offset: int
    records: list[Record]


async def next_pairs(consumer: Any, timeout_s: float) -> dict[Any, tuple[list[tuple[bytes, bytes | None]], int]]:
    """Keys and values of what an assigned consumer has fetched: {partition: (pairs, position behind them)}.

    For restoring changelogs: 0.3 µs a record. Empty when nothing came within `timeout_s`.
    """
    return await _next(consumer, timeout_s, _pairs)


async def next_batches(consumer: Any, timeout_s: float) -> dict[Any, tuple[list[CopiedBatch], int]]:
    """The same as whole batches, for copying them. Raises ExternalError for one with a wrong checksum."""
    return await _next(consumer, timeout_s, _batches)


async def _next(
    consumer: Any, timeout_s: float, read: Callable[[PartitionRecords], _Read]
) -> dict[Any, tuple[_Read, int]]:
    fetcher = consumer._fetcher
    with consumer._subscription.fetch_context():
        found = _take_all(fetcher, read)
        if found:
            return found
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=timeout_s)
        if not done:
            waiter.cancel()
            return {}
        waiter.result()
        return _take_all(fetcher, read)


def _take_all(fetcher: Any, read: Callable[[PartitionRecords], _Read]) -> dict[Any, tuple[_Read, int]]:
    found: dict[Any, tuple[_Read, int]] = {}
    for tp in list(fetcher._records):
        result = fetcher._records.pop(tp)
        fetcher._notify(fetcher._wait_consume_future)
        if type(result) is not FetchResult:
            result.check_raise()
            continue
        if not result.check_assignment(tp) or not result.has_more():
            continue
        records: PartitionRecords = result._partition_records
        found[tp] = read(records), records.next_fetch_offset
        result._update_position()
        result._partition_records = None
        records._records_iterator = None
    return found


def _batches(records: PartitionRecords) -> list[CopiedBatch]:
    found: list[CopiedBatch] = []
    position: int = records.next_fetch_offset
    while records._records.has_next():
        batch = records._records.next_batch()
        if not batch.validate_crc():
            raise ExternalError(f"a record batch of {records._tp} at {batch.base_offset} has a wrong checksum")
        if not _is_skipped(records, batch, records._isolation_level == READ_COMMITTED):
            kept = [
                Record(each.offset, each.key, each.value, each.timestamp, tuple(each.headers))
                for each in batch
                if each.offset >= position
            ]
            is_alone = batch.next_offset - batch.base_offset == 1
            found.append(CopiedBatch(batch.max_timestamp, is_alone, batch.next_offset, kept))
        position = batch.next_offset
    records.next_fetch_offset = position
    return found


def _pairs(records: PartitionRecords) -> list[tuple[bytes, bytes | None]]:
    pairs: list[tuple[bytes, bytes | None]] = []
    position: int = records.next_fetch_offset
    committed_only = records._isolation_level == READ_COMMITTED
    while records._records.has_next():
        batch = records._records.next_batch()
        if not _is_skipped(records, batch, committed_only):
            if batch.base_offset >= position:
                pairs += [(record.key, record.value) for record in batch]
            else:
                pairs += [(record.key, record.value) for record in batch if record.offset >= position]
        position = batch.next_offset
    records.next_fetch_offset = position
    return pairs
