"""A chunk: a run of records of one partition, as columns.

One Faust event is one chunk (decision D1), so everything that costs per event stays out of Faust. A chunk knows its
values and where each one came from; keys, headers and timestamps of single records are read again from the batch on the
rare paths that need them (dead letters, far-future check).

    runs:     [Run(index=0, offset=100), Run(index=40, offset=160)]
    values:   v0 v1 … v39               v40 …
    offsets:  100 101 … 139             160 …        a gap (aborted or compacted) starts a new run
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from streamflow.model.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class Record:
    """One record with all its parts. Bytes as on the wire, `timestamp_ms` since the epoch."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Records with consecutive offsets from one batch.

    `index` is the place of its first value in `Chunk.values`, `offset` that record's offset, `max_timestamp_ms` the
    largest record timestamp of the batch (from the batch header, so it is a function of the log).
    """

    index: int
    offset: int
    max_timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Mark:
    """An in-band watermark record: it takes effect before `values[index]`."""

    index: int
    value: bytes


@dataclass(slots=True)
class Chunk:
    """Columns of one partition's records, in offset order.

    values: one entry per data record; None where the record had no value (a tombstone).
    runs: ascending by index; the first has index 0 unless `values` is empty.
    next_offset: position after the chunk, control records and gaps included.
    marks: in-band watermark records of internal topics, ascending by index.
    record_at: reads the record at an offset again, whole. It must not refer to the chunk: a cycle would live until the
        collector looks, which is seldom.
    timestamps: record timestamps in ms, beside `values`; only for entries without an event time field.
    correlations: ids of records that somebody waits for, by place in `values`; empty nearly always.
    traces: contexts of records that are traced, likewise. pieces: places of records that are one of several pieces of
        their execution.
    returned: headers of dead letters' events that come again and behind which a key waits, by place.
    position: where fetching began; None when unknown. A task that is not there yet has missed records.
    generation: assignment generation it was fetched under.
    """

    topic: str
    partition: int
    values: list[bytes | None]
    runs: list[Run]
    next_offset: int
    marks: list[Mark] = field(default_factory=list)
    record_at: Callable[[int], Record] | None = None
    timestamps: list[int] | None = None
    correlations: dict[int, bytes] = field(default_factory=dict)
    traces: dict[int, TraceContext] = field(default_factory=dict)
    pieces: set[int] = field(default_factory=set)
    returned: dict[int, bytes] = field(default_factory=dict)
    position: int | None = None
    generation: int = 0
    size_bytes: int = 0
    fetched_at_ms: int = 0

    def run_at(self, index: int) -> Run:
        """The run that holds `values[index]`."""
        return self.runs[bisect_right(self.runs, index, key=lambda run: run.index) - 1]

    def offset_at(self, index: int) -> int:
        """Offset of `values[index]`."""
        run = self.run_at(index)
        return run.offset + index - run.index

    def record(self, index: int) -> Record:
        """`values[index]` with its key, timestamp and headers."""
        if self.record_at is not None:
            return self.record_at(self.offset_at(index))
        run = self.run_at(index)
        return Record(run.offset + index - run.index, None, self.values[index], run.max_timestamp_ms)
