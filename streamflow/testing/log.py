"""Kafka's part of the test driver: partitioned logs, committed offsets and transactions that happen or do not.

Real enough for what the engine depends on: records have offsets, commits are atomic and leave a gap of one offset (the
control record), positions are kept per group with their metadata.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace

from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.model.chunk import Chunk, Mark, Record, Run
from streamflow.model.letter import redriven_time
from streamflow.model.outcome import CORRELATION, PIECE, bounded_id
from streamflow.model.parking import PARKED
from streamflow.model.trace_context import TRACEPARENT, TraceContext, sampled_context


@dataclass(slots=True)
class PartitionLog:
    """Records of one partition, by offset. `next_offset` counts control records too."""

    records: list[Record] = field(default_factory=list)
    next_offset: int = 0

    def append(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> int:
        """Add a record and return its offset."""
        self.records.append(Record(self.next_offset, key, value, timestamp_ms, headers))
        self.next_offset += 1
        return self.next_offset - 1

    def is_last(self, record: Record) -> bool:
        """Whether a record is the last of its transaction, where marks are."""
        place = bisect_left(self.records, record.offset + 1, key=lambda each: each.offset)
        return place == len(self.records) or self.records[place].offset != record.offset + 1


class MemoryLog:
    """All topics. Unbounded: it holds what a test puts into it."""

    def __init__(self, partition_counts: dict[str, int]) -> None:
        self.partition_counts = partition_counts
        self.partitions = {
            (topic, p): PartitionLog() for topic, count in partition_counts.items() for p in range(count)
        }
        #: Per (topic, partition): (next offset, metadata).
        self.committed: dict[tuple[str, int], tuple[int, str]] = {}

    def commit(self, checkpoint: Checkpoint, changelogs: dict[str, tuple[str, int]], now_ms: int) -> dict[str, int]:
        """Append everything of a checkpoint and its offsets at once; returns the next changelog offset per table."""
        written: set[tuple[str, int]] = set()
        for place, outputs in checkpoint.outputs.items():
            written.add(place)
            for key, value, headers in outputs:
                self.partitions[place].append(key, value, now_ms, headers or ())
        for each in checkpoint.tables:
            place = changelogs[each.table]
            written.add(place)
            for change_key, change in each.changes:
                self.partitions[place].append(change_key, change, now_ms)
        for place in written:
            self.partitions[place].next_offset += 1
        for place, offset in checkpoint.positions.items():
            self.committed[place] = (offset, checkpoint.progress)
        return {table: self.partitions[place].next_offset for table, place in changelogs.items()}

    def chunk(self, topic: str, partition: int, position: int, limit: int, marks: bool, now_ms: int) -> Chunk | None:
        """The next chunk of at most `limit` records from `position`, None when there is nothing new."""
        log = self.partitions[topic, partition]
        if position >= log.next_offset:
            return None
        found = [record for record in log.records if record.offset >= position][:limit]
        next_offset = found[-1].offset + 1 if found else log.next_offset
        values: list[bytes | None] = []
        kept: list[Record] = []
        taken_marks: list[Mark] = []
        correlations: dict[int, bytes] = {}
        traces: dict[int, TraceContext] = {}
        pieces: set[int] = set()
        returned: dict[int, bytes] = {}
        runs: list[Run] = []
        for record in found:
            if marks and record.value is not None and record.value.startswith(b"{") and log.is_last(record):
                taken_marks.append(Mark(len(values), record.value))
                continue
            headers = dict(record.headers)
            correlation = headers.get(CORRELATION)
            if correlation is not None:
                record = replace(record, timestamp_ms=redriven_time(headers, record.timestamp_ms))
                correlations[len(values)] = bounded_id(correlation)
                if PARKED in headers:
                    returned[len(values)] = headers[PARKED]
            if PIECE in headers:
                pieces.add(len(values))
            last = kept[-1] if runs else None
            if last is None or (record.offset, record.timestamp_ms) != (last.offset + 1, last.timestamp_ms):
                runs.append(Run(len(values), record.offset, record.timestamp_ms))
            trace = sampled_context(headers.get(TRACEPARENT))
            if trace is not None:
                traces[len(values)] = trace
            values.append(record.value)
            kept.append(record)
        return Chunk(
            topic,
            partition,
            values,
            runs,
            next_offset,
            marks=taken_marks,
            record_at={record.offset: record for record in kept}.__getitem__,
            correlations=correlations,
            traces=traces,
            pieces=pieces,
            returned=returned,
            timestamps=[record.timestamp_ms for record in kept],
            size_bytes=sum(len(value or b"") for value in values),
            fetched_at_ms=now_ms,
        )
