"""The rows that a task is working on: which entry they came from, and how to find a row's record again.

The fused loop knows only rows. On the rare paths that need the record (dead letters, the far-future check) the row is
looked up by identity, starting behind the last one found, so that a slice full of bad rows still costs one pass.
"""

from dataclasses import dataclass, field
from typing import Any

from streamflow.engine.fold_table import CLOSING_ROWS
from streamflow.errors import InternalError
from streamflow.model.chunk import Chunk
from streamflow.nodes.operators import Fold
from streamflow.plan.plan import Entry, Stage

#: Beyond every event time.
FAR = 1 << 62


@dataclass(slots=True)
class Slice:
    """Rows decoded from `chunk.values[start:]`; `kept` are their places in it when some did not decode."""

    entry: Entry
    chunk: Chunk
    start: int
    rows: list[Any]
    kept: list[int] | None
    _next: int = field(default=0)

    def index_of(self, row: Any) -> int:
        """Place of a row's value in the chunk. Raises LookupError when it is not of this slice."""
        rows = self.rows
        for place in range(len(rows)):
            index = (self._next + place) % len(rows)
            if rows[index] is row:
                self._next = index
                return self.place(index)
        raise LookupError("row is not of this slice")

    def place(self, index: int) -> int:
        """Place in the chunk of the value that a row was decoded from."""
        return self.start + (index if self.kept is None else self.kept[index])

    def near_ms(self) -> tuple[int, int]:
        """(behind, ahead): event times from one to the other are near enough to every batch of the slice."""
        times = [self.chunk.run_at(self.start).max_timestamp_ms]
        times += [run.max_timestamp_ms for run in self.chunk.runs if run.index > self.start]
        future, past = self.entry.future, self.entry.past
        return max(times) - past.limit_ms if past else -FAR, min(times) + future.limit_ms if future else FAR


def record_times(chunk: Chunk, start: int, count: int, kept: list[int] | None) -> list[int]:
    """Times (ms) of the records behind rows. Raises InternalError when the chunk has none."""
    if chunk.timestamps is None:
        raise InternalError(f"chunk of {chunk.topic} came without timestamps, but its event time is the record's")
    times = chunk.timestamps[start : start + count]
    return times if kept is None else [times[index] for index in kept]


def rows_before(index: int, kept: list[int] | None) -> int:
    """How many rows come from values before `index`."""
    if kept is None:
        return index
    return sum(1 for place in kept if place < index)


def position_behind(chunk: Chunk, stop: int, position: int) -> int:
    """Offset to go on from when `chunk.values[:stop]` are done; `position` was it before.

    Marks in front of the next value may not have been heard. So they are read again, which changes nothing.
    """
    if stop == len(chunk.values):
        return chunk.next_offset
    if not chunk.marks:
        return chunk.offset_at(stop)
    return max(position, chunk.offset_at(stop - 1) + 1) if stop else position


def slice_records(stage: Stage, most: int) -> int:
    """How many records to work on before the next look at what waits: few where each brings many results."""
    told = max((node.operator.told_per_row for node in stage.nodes if isinstance(node.operator, Fold)), default=0)
    return max(1, min(most, CLOSING_ROWS // max(1, told)))
