"""An entry that parks keys: what fails for good holds up the later events of its key, and of no other.

    nothing is parked     entry_0(rows)      what fails cuts the rows behind it; the rest goes the second way
    a key is parked       held_0(rows)       for e in rows: … if k in parked_0: park_0(e, k, t) … else as in entry_0
    it comes again        released_0([e])    alone, before all that waits; time has moved when it came first
    what waited           released_0([e])    one by one, until one fails

While what waited goes on the task counts as closing windows: nothing else is worked on, checkpoints come in between,
and so results do not depend on how events are cut into chunks.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from streamflow.bus.event_types import EventType
from streamflow.engine.correlation import Correlator, Run
from streamflow.engine.letters import Headers
from streamflow.engine.parking_table import ParkingTable
from streamflow.engine.slice import Slice
from streamflow.engine.task_bus import TaskBus
from streamflow.engine.task_hooks import TaskHooks
from streamflow.engine.watermarks import EntryClock
from streamflow.errors import EventError
from streamflow.model import chunk as chunks
from streamflow.model.chunk import Chunk, Record
from streamflow.model.letter import redriven_time
from streamflow.model.parking import PARKED, Place, Waiting, place_of
from streamflow.model.trace_context import TRACEPARENT, sampled_context
from streamflow.state.keys import key_bytes

#: What has waited and goes on before a checkpoint may come.
RELEASE_ROWS = 1_000


class Host(Protocol):
    """What an entry that parks asks of its task."""

    functions: dict[str, Any]

    def run_again(self, number: int, chunk: Chunk) -> None:
        """Work through a chunk of one record that was read before."""

    def has_stopped(self) -> bool:
        """Whether work on the chunk has stopped before its end."""

    def stop_at(self, index: int) -> None:
        """Work on the chunk stops before this place."""

    def far_time(self, row: Any, time_ms: int) -> int | None:
        """By the source's policy; None when it is dead."""

    def failed(self, row: Any, error: Exception) -> None:
        """A row becomes a dead letter."""


class ParkedInput:
    """Entry `number` of a task."""

    def __init__(
        self,
        task: Host,
        number: int,
        clock: EntryClock,
        partition: int,
        table: ParkingTable,
        correlator: Correlator,
        bus: TaskBus | None,
        hooks: TaskHooks,
    ) -> None:
        assert clock.entry.parks is not None
        self._task, self._number, self._clock, self._place = task, number, clock, (clock.entry.topic, partition)
        self._correlator, self._bus, self._hooks = correlator, bus, hooks
        self._at_release = clock.entry.parks.at_release
        self.table = table
        self._current: Slice | None = None
        self._begun = 0
        #: Rows that nothing tests; those behind one that fails are cut off.
        self._part: list[Any] | None = None
        #: Key whose head is worked on; and what has waited and is.
        self._head: Any = None
        self._going: Waiting | None = None
        #: Keys that failed and could not be parked.
        self.unparked_count = 0

    # -- rows that come -----------------------------------------------------------------------------------------------

    def over(self, current: Slice, functions: Mapping[str, Any]) -> Run:
        """The function for the rows of a slice, which takes them in their order."""
        self._current, self._begun = current, 0
        return self.through(functions)

    def through(self, functions: Mapping[str, Any]) -> Run:
        """The same by other generated functions."""
        return partial(self._rows, functions)

    def _rows(
        self, functions: Mapping[str, Any], rows: list[Any], times: list[int] | None, behind: int, ahead: int
    ) -> None:
        current, number, first = self._current, self._number, self._begun
        assert current is not None
        self._begun += len(rows)
        if self._going is not None:
            functions[f"released_{number}"](rows, [self._time(self._going.time_ms)], 0, 0)
            return
        if current.chunk.returned and rows:
            index = current.place(first)
            key = self._key_behind(current.chunk, index)
            if key is not None:  # such a row comes alone
                self._again(functions, key, index, rows[0], times, behind, ahead)
                return
        held = functions[f"held_{number}"]
        if self.table.held:
            held(rows, times, behind, ahead)
            return
        part = self._part = rows[:]
        functions[f"entry_{number}"](part, times, behind, ahead)
        self._part = None
        done = len(part)
        if done < len(rows) and not self._task.has_stopped():
            held(rows[done:], times and times[done:], behind, ahead)

    def between(self, run: Run, current: Slice, bad: deque[tuple[int, EventError]], tell: Callable[..., None]) -> Run:
        """`run`, with what did not decode told of in its turn. bad: places behind the slice's start, with errors."""
        begun = 0

        def split(rows: list[Any], times: list[int] | None, behind: int, ahead: int) -> None:
            nonlocal begun
            first, done = begun, 0
            begun += len(rows)
            while bad and not self._task.has_stopped():
                upto = bisect_left(current.kept or [], bad[0][0]) - first
                if upto >= len(rows):
                    break
                if upto > done:
                    run(rows[done:upto], times and times[done:upto], behind, ahead)
                    done = upto
                else:
                    index, error = bad.popleft()
                    tell(current.chunk, current.start + index, error)
            if done < len(rows) and not self._task.has_stopped():
                run(rows[done:], times and times[done:], behind, ahead)

        return split

    def hold(self, row: Any, key: Any, time_ms: int) -> None:
        """A row waits behind its key. Raises EventError(`parked_full`, `too_large`)."""
        assert self._current is not None
        self._wait(self._current.chunk, self._current.index_of(row), key, time_ms)

    def holds_undecoded(self, chunk: Chunk, index: int) -> bool:
        """Whether a record that does not decode waits behind its key, as its record says; not beyond a bound."""
        if self._going is not None or self._key_behind(chunk, index) is not None:
            return False
        record = chunk.record(index)
        key = self.table.key_of(record.key)
        if key not in self.table.held:
            return False
        try:
            self._wait(chunk, index, key, record.timestamp_ms)
        except EventError:
            return False
        return True

    def _wait(self, chunk: Chunk, index: int, key: Any, time_ms: int) -> None:
        record, correlation = chunk.record(index), chunk.correlations.get(index)
        timestamp_ms = redriven_time(dict(record.headers), record.timestamp_ms)
        event = Waiting(
            *(key_bytes(key), record.offset, timestamp_ms, time_ms, record.key, record.value, list(record.headers)),
            *(correlation, index in chunk.pieces, index in chunk.traces),
        )
        self.table.wait(key, event)
        self._correlator.leave_out()

    # -- what fails ---------------------------------------------------------------------------------------------------

    def fails(self, chunk: Chunk, index: int, row: Any = None) -> Headers:
        """A record becomes a dead letter: its key waits behind it. Gives the letter's headers that say so."""
        offset, again = chunk.offset_at(index), self._key_behind(chunk, index) if self._head is None else self._head
        key = self._failing_key(chunk, index, row) if again is None else again
        held = None if key is None else self.table.held.get(key)
        if key is None or (held is not None and again is None and held.head.offset not in (None, offset)):
            return ()
        before = 0 if held is None else held.head.failures
        if not self.table.park(key, offset, self._hooks.now()):
            self.unparked_count += 1
            return ()
        head = self.table.held[key].head
        if head.failures > before:
            counts = {"failures": head.failures, "waiting": head.waiting}
            self._say(EventType.KEY_PARKED, offset, counts)
        if self._part is not None:
            place = next((place for place, each in enumerate(self._part) if each is row), len(self._part))
            del self._part[place + 1 :]
        return ((PARKED, Place(self._clock.entry.node, offset, key_bytes(key)).header),)

    def _failing_key(self, chunk: Chunk, index: int, row: Any) -> Any:
        if self._going is not None:
            return self.table.key_of(self._going.of)
        if row is not None:
            return self._own_key(row)
        return self.table.key_of(chunk.record(index).key)

    def _own_key(self, row: Any) -> Any:
        try:
            return self._task.functions[f"key_{self._number}"](row)
        except Exception:  # the row has none
            return None

    # -- what comes again, and what waited ----------------------------------------------------------------------------

    def _key_behind(self, chunk: Chunk, index: int) -> Any:
        """Key whose head a record is, come again; None when it is an event like others."""
        header = chunk.returned.get(index)
        place = None if header is None else place_of(header)
        if place is None or place.node != self._clock.entry.node:
            return None
        return self.table.behind(place.offset)

    def _again(
        self,
        functions: Mapping[str, Any],
        key: Any,
        index: int,
        row: Any,
        times: list[int] | None,
        behind: int,
        ahead: int,
    ) -> None:
        """The event of a letter comes again; edited, it may be of another key."""
        head, own = self.table.held[key].head, self._own_key(row)
        failures, self._head = head.failures, key
        time_ms = self._time_of(row, times, behind, ahead)
        if time_ms is None:
            pass  # it is a letter again
        elif own != key and own in self.table.held:
            try:
                self.hold(row, own, time_ms)
            except EventError as error:
                self._task.failed(row, error)
        else:
            functions[f"released_{self._number}"]([row], [self._time(time_ms)], 0, 0)
        self._head = None
        if head.failures == failures and self._release(key, "redriven"):
            self._task.stop_at(index + 1)

    def passed_over(self, rows: list[Any], *_: Any) -> None:
        """A row is not worked on, as its execution was cancelled; a key waits behind it no more."""
        assert self._current is not None
        index = self._current.place(self._begun)
        self._begun += len(rows)
        key = self._key_behind(self._current.chunk, index)
        if key is not None and self._release(key, "cancelled"):
            self._task.stop_at(index + 1)

    def _time_of(self, row: Any, times: list[int] | None, behind: int, ahead: int) -> int | None:
        entry = self._clock.entry
        if entry.event_time is None:
            assert times is not None
            return max(times[0], self._clock.high_ms) if entry.processing_time else times[0]
        time_ms: int = getattr(row, entry.event_time)
        if (entry.past is not None and time_ms < behind) or (entry.future is not None and time_ms > ahead):
            return self._task.far_time(row, time_ms)
        return time_ms

    def _time(self, time_ms: int) -> int:
        return max(time_ms, self._hooks.watermark_now()) if self._at_release else time_ms

    def discarded(self, rows: list[Any], *_: Any) -> None:
        """Records of the topic of releases."""
        for row in rows:
            key = self.table.behind(row.offset)
            if key is not None:
                self._release(key, "discarded")

    def _release(self, key: Any, outcome: str) -> int:
        offset, waiting = self.table.held[key].head.offset, self.table.release(key)
        self._say(EventType.KEY_RELEASED, offset, {"outcome": outcome, "waiting": waiting})
        return waiting

    def go_on(self) -> None:
        """Some of what waited goes on."""
        for _ in range(RELEASE_ROWS):
            found = self.table.take()
            if found is None:
                return
            key, self._going = found
            self._task.run_again(self._number, self._chunk_of(self._going))
            self._going = None
            self.table.settle(key)

    def _chunk_of(self, event: Waiting) -> Chunk:
        """The record of an event that waited, as it came."""
        headers = tuple(event.headers)
        record = Record(event.offset, event.key, event.value, event.timestamp_ms, headers)
        context = sampled_context(dict(headers).get(TRACEPARENT)) if event.is_traced else None
        return Chunk(
            *self._place,
            [event.value],
            [chunks.Run(0, event.offset, event.timestamp_ms)],
            event.offset + 1,
            record_at={event.offset: record}.__getitem__,
            timestamps=[event.timestamp_ms],
            correlations={} if event.correlation is None else {0: event.correlation},
            traces={} if context is None else {0: context},
            pieces={0} if event.is_piece else set(),
        )

    def _say(self, kind: EventType, offset: int | None, data: dict[str, Any]) -> None:
        if self._bus is not None:
            topic, partition = self._place
            self._bus.parking(kind, self._clock.entry.node, data, f"{topic}/{partition}/{offset}")


def parked_inputs(
    task: Host,
    hooks: TaskHooks,
    partition: int,
    clocks: Sequence[EntryClock],
    tables: Mapping[int, ParkingTable],
    names: dict[str, Any],
    correlator: Correlator,
    bus: TaskBus | None,
) -> dict[int, ParkedInput]:
    """Of the entries of a task that park, by number; its generated code is told of them, and what is bound later."""
    found: dict[int, ParkedInput] = {}
    for number, table in tables.items():
        entry = clocks[number].entry
        found[number] = parked = ParkedInput(task, number, clocks[number], partition, table, correlator, bus, hooks)
        releases = next(place for place, each in enumerate(clocks) if each.entry.releases == entry.node)
        for name, value in ((f"park_{number}", parked.hold), (f"entry_{releases}", parked.discarded)):
            names[name] = task.functions[name] = value
    return found
