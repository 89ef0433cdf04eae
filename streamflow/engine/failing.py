"""What becomes of rows that cannot be used: the side of a task that the generated code calls off its usual path."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.engine.correlation import Correlator
from streamflow.engine.counters import TaskCounters
from streamflow.engine.dead import Dead
from streamflow.engine.far_times import near_time
from streamflow.engine.fold_table import FoldTable
from streamflow.engine.history import History
from streamflow.engine.letters import Headers, late_headers
from streamflow.engine.outputs import RouteTo
from streamflow.engine.parking import ParkedInput
from streamflow.engine.program import Program
from streamflow.engine.rescue import missing_row, raise_system_faults
from streamflow.engine.slice import Slice
from streamflow.errors import EventError
from streamflow.model.chunk import Chunk


class Failing(ABC):
    """Base of Task, which fills it.

    _slice: what is worked on; _parked: the entry that it came by, when it parks keys. _closing: the node whose results
    are worked on, empty for rows of a slice.
    """

    program: Program
    counters: TaskCounters
    history: History
    _dead: Dead
    _correlator: Correlator
    _slice: Slice | None
    _parked: ParkedInput | None
    _closing: str
    _late: dict[int, tuple[str, FoldTable, Callable[[Any], RouteTo]]]

    @abstractmethod
    def _watermark_now(self) -> int:
        """The watermark up to this event."""

    def _undecoded(self, chunk: Chunk, index: int, error: EventError) -> None:
        assert self._slice is not None
        if self._parked is None or not self._parked.holds_undecoded(chunk, index):
            with self._correlator.about(chunk, index):
                self._dead.record(chunk, index, self._slice.entry.node, error, self._parks(chunk, index))

    def far_time(self, row: Any, time_ms: int) -> int | None:
        """Time of a row that may lie too far from its record's batch: by the source's policy; None when it is dead."""
        assert self._slice is not None
        index, entry = self._slice.index_of(row), self._slice.entry
        found = near_time(entry, time_ms, self._slice.chunk.run_at(index).max_timestamp_ms)
        if isinstance(found, int):
            self.counters.clamped[self.program.stage.entries.index(entry)] += found != time_ms
            return found
        error, more = found
        more = (*more, *self._parks(self._slice.chunk, index, row))
        self._dead.record(self._slice.chunk, index, entry.node, error, more)
        return None

    def refuse_number(self, value: float) -> None:
        """A computed number is infinite, no number, or beyond 64 bits."""
        raise EventError("expression", f"the computed value {value!r} is not a number of 64 bits")

    def overflow(self, name: str) -> None:
        """A result is beyond what a number of 64 bits can hold, although no value was."""
        raise EventError("overflow", f"{name!r} is beyond 64 bits: its values are too large to be added up")

    def null_key(self, row: Any, node: str) -> None:
        """A row without a key came to a node that needs one."""
        self._fail(row, node, EventError("null_key", f"the key at node {node!r} is null"))

    def missing_row(self, row: Any, node: str, table: str) -> None:
        """A global table has nothing under a row's key."""
        self._fail(row, node, missing_row(node, table))

    def late(self, number: int, time_ms: int, key: Any, row: Any) -> None:
        """A row belongs to closed windows only: it is counted, and leaves for the window's late topic if it has one."""
        self.counters.late[number] += 1
        self.history.was_late(number, key, time_ms)
        late = self._late.get(number)
        if late is not None:
            node, table, route = late
            distance_ms = table.distance_ms(time_ms, self._watermark_now())
            data, append = route(key)
            append((data, msgspec.json.encode(row), late_headers(node, time_ms, distance_ms)))

    def failed(self, row: Any, error: Exception) -> None:
        """A statement raised for a row. Faults of the system go on; faults of the event become a dead letter."""
        raise_system_faults(error)
        node = self.program.source.node_of(error.__traceback__) or self._correlator.node_of(error.__traceback__)
        if not node:
            raise error
        if not isinstance(error, EventError):
            said = EventError("expression", f"{type(error).__name__}: {error}")
            error = said.with_traceback(error.__traceback__)
        self._fail(row, node, error)

    def _fail(self, row: Any, node: str, error: EventError) -> None:
        if self._closing:
            self._dead.row(msgspec.json.encode(row), node, error)
            return
        assert self._slice is not None
        chunk, index = self._slice.chunk, self._slice.index_of(row)
        self._dead.record(chunk, index, node, error, self._parks(chunk, index, row))

    def _parks(self, chunk: Chunk, index: int, row: Any = None) -> Headers:
        """Headers of the letter of a record, behind which its key may wait from now on."""
        return () if self._parked is None else self._parked.fails(chunk, index, row)
