"""A task: one stage × one partition. Takes chunks, gives checkpoints; knows no Kafka.

    process(chunk) ──► decode ──► fused operators ──► panes, outputs        as often as chunks come
                                     │ watermark passes a border
                                     └► close panes ──► result rows ──► operators behind the window ──► outputs
    take_checkpoint() ──► Checkpoint ──► (Kafka transaction, then the store) ──► committed()

Everything is synchronous and single-threaded. Work may go on while a taken checkpoint is in flight; only one may be.
Closing happens exactly at the event that moves the watermark over a border, never at a chunk's end, so that any split
into chunks gives the same results.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import msgspec
import orjson

from streamflow.bus.detail import DataPathBus
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME, ProducerMark, Progress
from streamflow.engine.binding import Binding
from streamflow.engine.closing import Closer, closing_by, opened_at
from streamflow.engine.correlation import Correlator, Run
from streamflow.engine.counters import TaskCounters
from streamflow.engine.dead import Dead
from streamflow.engine.delivering import Resources, delivering_of
from streamflow.engine.ending import Ending
from streamflow.engine.failing import Failing
from streamflow.engine.global_table import GlobalTable
from streamflow.engine.history import History
from streamflow.engine.marks import Marks
from streamflow.engine.outputs import Outputs
from streamflow.engine.parking import ParkedInput, parked_inputs
from streamflow.engine.program import Program
from streamflow.engine.rescue import Rescue
from streamflow.engine.slice import Slice, position_behind, record_times, rows_before
from streamflow.engine.standing import standing_of
from streamflow.engine.task_bus import TaskBus
from streamflow.engine.task_hooks import TaskHooks
from streamflow.engine.walk import Left
from streamflow.engine.watermarks import EntryClock, TaskClock, resume_clocks
from streamflow.errors import EventError, InternalError
from streamflow.kit.timers import Timer
from streamflow.model.chunk import Chunk
from streamflow.model.codec import Decoded
from streamflow.plan.plan import Entry, EntryKind
from streamflow.query.standing import TaskStanding
from streamflow.state.store import Store, TableChanges

_NEVER = 1 << 62
_NOTHING = Resources()
#: Event times (None: the records') and rows.
Rows = tuple[list[int] | None, Decoded]
#: Places of what did not decode, behind the start of a slice, and why.
Bad = deque[tuple[int, EventError]]


class Task(Failing):
    """State and work of one task.

    partition_counts: partitions of every topic of the plan.
    progress: what the committed offsets carry; positions: per (topic, partition) of the inputs the offset to start at.
    now_ms: wall clock, only for idleness. tables: the global tables that lookups of the stage read. resources: what
    its nodes use of the process. bus: where events go, in the checkpoints; None: there are none.
    """

    #: Of the rows at hand; those of windows and timers have none. Read by the fused code.
    level = ""

    def __init__(
        self,
        program: Program,
        partition: int,
        *,
        store: Store,
        partition_counts: Mapping[str, int],
        progress: Progress,
        now_ms: int,
        positions: Mapping[tuple[str, int], int] | None = None,
        tables: Mapping[str, GlobalTable] | None = None,
        resources: Resources = _NOTHING,
        bus: DataPathBus | None = None,
    ) -> None:
        self.program, self.partition = program, partition
        self.stage = program.stage
        self.outputs = Outputs(partition_counts, partition)
        self.counters = TaskCounters(program)
        self.bus = TaskBus(bus, program, partition, self.outputs, self.counters) if bus is not None else None
        self.pending_records = self.pending_bytes = self._first_ms = self._sequence = 0
        self._dead = Dead(program, self.outputs, self.counters, self.bus)
        self._positions = dict(positions or {})
        self._watermark_ms = self._closed_to_ms = progress.watermark_ms
        self._before_end_ms = NO_TIME if progress.has_ended else progress.watermark_ms
        self._ending: Ending | None = None
        self._counts = progress.counts
        self._clocks = resume_clocks(program.plan, program.stage, progress, partition_counts, now_ms)
        self._resumed, self._life = progress.closing, progress.life
        self._slice = self._parked = None
        self._parking: dict[int, ParkedInput] = {}
        self._stopped: int | None = None  # place in the chunk of the value before which work stopped
        self._closing = ""
        self._in_flight = self._changed = self._advancing = False
        self.history = History(now_ms, progress.watermark_ms)
        self._marks = Marks(self.outputs, program.stage, partition)
        self._correlator = Correlator(self.outputs, program, partition, bus, resources.cancelled)
        #: Per entry the high time at which its watermark reaches the next border; read by the fused code.
        self.due: list[int] = []
        self._clock = TaskClock(self._clocks, now_ms)
        names = {"task": self, "passed": self.counters.passed, "encode": msgspec.json.Encoder().encode}
        self._delivering = delivering_of(program.plan, self.stage, resources, partition, self._positions, self._dead)
        names["rescue"] = Rescue()
        names["deliver"] = self._delivering and self._delivering.add
        binding = Binding(program, self._hooks(), self.outputs, self._clocks, store, tables or {}, names)
        self._folds, self._keyed, self._late = binding.folds, binding.keyed, binding.late
        #: `answers`: of each async node what its calls gave, to be filled before its rows are processed.
        self._processes, self._clocked, self._untold = binding.processes, binding.clocked, binding.untold
        self.answers, self.scorers = binding.answers, binding.scorers
        self._tables = Closer(self._folds, progress.closing, len(self._clocks))
        try:
            self.functions = binding.bind()
            inputs = partition, self._clocks, binding.parking
            self._parking = parked_inputs(self, binding.hooks, *inputs, names, self._correlator, self.bus)
            self._correlator.bind(names, self.answers)
            self._tables.check_resumed()
            self.scorers.open(resources.models, progress.versions)
        except BaseException:
            self.close()
            raise
        self.due = [self._next_due(clock) for clock in self._clocks]

    def _hooks(self) -> TaskHooks:
        return TaskHooks(
            emit=self._emit,
            give=self._give,
            parks=self._correlator.parks,
            judged=self._correlator.judged,
            cancelled=self._correlator.cancelled,
            timer_failed=self._timer_failed,
            border_moved=self._border_moved,
            closed_to=lambda: self._closed_to_ms,
            opened_at=lambda number: opened_at(number, self._closed_to_ms, self._resumed),
            watermark_now=self._watermark_now,
            settled_watermark=self._settled_watermark,
            data_end=self._clock.data_end,
            now=lambda: self._clock.now_ms,
        )

    def end_at(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Make it a task of a bounded run: source entries end at these offsets. Call before any work."""
        self._ending = Ending(ends)
        if self._counts:
            self.counters.resume(self._counts)
        self._look_for_ends()

    # -- work ---------------------------------------------------------------------------------------------------------

    def decode(self, entry_index: int, values: list[bytes | None]) -> Rows:
        """Event times (None: the records') and rows of values."""
        return self.program.decoders[entry_index](values)

    def process(self, entry_index: int, chunk: Chunk, start: int, stop: int, given: Rows | None = None) -> int:
        """Work through `chunk.values[start:stop]`; the call that ends at the chunk's end moves past its gaps too.

        Gives where it stopped: before `stop` when `is_closing`; then go on from there behind `go_on`.
        given: these values as `decode` gave them, when that has been done already.
        Raises StoreFailed and InternalError; whatever is wrong with an event becomes a dead letter.
        """
        if self._closing or self.is_closing:
            raise InternalError("process was called from within process, or while windows are being closed")
        clock = self._clocks[entry_index]
        values = chunk.values if start == 0 and stop == len(chunk.values) else chunk.values[start:stop]
        if values or chunk.marks:
            self._wake(clock, chunk.fetched_at_ms)
        if values:
            self._first_ms = self._first_ms or chunk.fetched_at_ms
            given = given or self.decode(entry_index, values)
            stop = start + self._run(entry_index, clock, chunk, start, len(values), given)
            values = values[: stop - start]
        ends = stop == len(chunk.values)
        if clock.entry.kind is EntryKind.REPARTITION:
            if not values:
                self._hear(entry_index, clock, chunk, start, stop + 1)
            elif ends:
                self._hear(entry_index, clock, chunk, stop, stop + 1)
        place = chunk.topic, chunk.partition
        self._positions[place] = position_behind(chunk, stop, self._positions.get(place, 0))
        self._changed = True
        if self._ending is not None:
            self._look_for_ends()
        self.pending_records += len(values)
        self.pending_bytes += chunk.size_bytes * len(values) // max(1, len(chunk.values))
        self.counters.events_in[entry_index] += len(values)
        return stop

    def process_ahead(self, entry_index: int, chunk: Chunk, start: int, given: Rows) -> None:
        """Work through rows of `chunk.values[start:]` before those in front of them, which are waited for.

        The position stays, so `overtaken` must have them until `process` has passed them. The chunk has no marks.
        """
        clock = self._clocks[entry_index]
        self._wake(clock, chunk.fetched_at_ms)
        self._first_ms = self._first_ms or chunk.fetched_at_ms
        self._run(entry_index, clock, chunk, start, len(chunk.values) - start, given)
        self._changed = True

    def overtaken(self, entry_index: int) -> set[int]:
        """Offsets behind the position of an entry that are done; they survive with it."""
        return self._clocks[entry_index].overtaken

    def hear_before(self, entry_index: int, chunk: Chunk, stop: int) -> None:
        """Let marks right before `chunk.values[stop]` count now: all before is done, that value may take long."""
        self._hear(entry_index, self._clocks[entry_index], chunk, stop, stop + 1)

    def skip(self, chunk: Chunk) -> None:
        """Move behind a chunk that holds only control or aborted records. Not worth a checkpoint of its own."""
        self._positions[chunk.topic, chunk.partition] = chunk.next_offset
        if self._ending is not None:
            self._look_for_ends()

    def room(self, chunk: Chunk) -> int:
        """How many of a chunk's values may be processed: those before the end of a bounded run, else all."""
        return len(chunk.values) if self._ending is None else self._ending.room(chunk)

    def is_read(self, place: tuple[str, int]) -> bool:
        """Whether an input of a bounded run has been read up to its end."""
        return self._ending is not None and self._ending.is_read(place, self._positions.get(place, 0))

    def _look_for_ends(self) -> None:
        assert self._ending is not None
        for number in self._ending.reached(self._clocks, self.partition, self._positions):
            self._changed = True
            self.advance(number, "end")

    def _run(self, number: int, clock: EntryClock, chunk: Chunk, start: int, count: int, given: Rows) -> int:
        """How many of `count` values were worked through; fewer when a closing has to go on first."""
        self._stopped = None
        bad = deque(given[1].bad)
        self._run_rows(number, clock, chunk, start, count, given, bad)
        done = count if self._stopped is None else self._stopped - start
        for index, error in bad:
            if index < done:
                self._undecoded(chunk, start + index, error)
        return done

    def run_again(self, number: int, chunk: Chunk) -> None:
        """Work through a chunk of one record that has waited."""
        self._run(number, self._clocks[number], chunk, 0, 1, self.decode(number, chunk.values))

    def _run_rows(
        self, number: int, clock: EntryClock, chunk: Chunk, start: int, count: int, given: Rows, bad: Bad
    ) -> None:
        times, decoded = given
        entry, rows = clock.entry, decoded.rows
        self.level = entry.level
        self._slice = current = Slice(entry, chunk, start, rows, decoded.kept)
        function = self._function(number, current, bad)
        if entry.kind is EntryKind.SOURCE:
            if times is None and entry.event_time is None:
                times = record_times(chunk, start, count, decoded.kept)
            function(rows, times, *current.near_ms())
            if rows and self._stopped is None and not self.is_closing:
                clock.last_offset = current.chunk.offset_at(current.place(len(rows) - 1))
                clock.last_time_ms = times[-1] if times else getattr(rows[-1], entry.event_time or "")
            return
        if entry.kind is EntryKind.DECISIONS:
            function(rows, None, 0, 0)
            return
        # Marks cut the rows into runs: a mark at index i takes effect before values[i].
        assert times is not None
        done = 0
        for mark in chunk.marks:
            if start <= mark.index < start + count:
                upto = rows_before(mark.index - start, decoded.kept)
                function(rows[done:upto], times[done:upto], 0, 0)
                if self._stopped is None:
                    self._apply_mark(number, clock, mark.value)
                    self._stopped = mark.index if self.is_closing else None
                if self._stopped is not None:
                    return
                done = upto
        function(rows[done:], times[done:], 0, 0) if done else function(rows, times, 0, 0)

    def _function(self, number: int, current: Slice, bad: Bad) -> Run:
        """What works through the rows of a slice, in their order."""
        chunk, start, rows, kept = current.chunk, current.start, current.rows, current.kept
        self._parked = parked = self._parking.get(number)
        function: Run = self.functions[f"entry_{number}"] if parked is None else parked.over(current, self.functions)
        if self._delivering is not None:
            self._delivering.expect(chunk, [current.place(index) for index in range(len(rows))])
        for ahead in self.program.ahead[number]:
            self.functions[ahead](rows)
        if current.entry.execution_id is not None:
            self._correlator.name(chunk, start, rows, kept, current.entry.execution_id)
        if chunk.correlations or chunk.traces:
            function = self._correlator.alone(function, chunk, start, rows, kept, lambda: self._stopped, parked)
        return parked.between(function, current, bad, self._undecoded) if parked is not None and bad else function

    def _hear(self, number: int, clock: EntryClock, chunk: Chunk, lower: int, upper: int) -> None:
        for mark in chunk.marks:
            if lower <= mark.index < upper:
                self._apply_mark(number, clock, mark.value)

    def _apply_mark(self, number: int, clock: EntryClock, value: bytes) -> None:
        body = orjson.loads(value)
        time = body["watermark"]
        heard = ProducerMark(NO_TIME if time is None else time, body["idle"])
        clock.hear(body["producer"], heard, body.get("data", NO_TIME))
        self._clock.judge(self._clock.now_ms)
        self.advance(number, "mark", body["producer"])

    # -- time ---------------------------------------------------------------------------------------------------------

    def advance(self, number: int, cause: str = "event", producer: int | None = None) -> None:
        """Recompute the watermark, close what is due, and find the entry's next due high time.

        While windows are being closed it only takes note; `go_on` comes back to it.
        """
        if self.is_closing:
            self._tables.missed[number] = (cause, producer)
            return
        watermark_ms = self._clock.watermark_ms(self._watermark_ms)
        if watermark_ms > self._watermark_ms:
            if watermark_ms < END_OF_TIME:
                self._before_end_ms = watermark_ms
            if self._folds and watermark_ms >= min(t.next_border(self._watermark_ms) for _, t, _ in self._folds):
                known = self._clocks[number], self._slice
                self.history.closed(closing_by(watermark_ms, self._clock.now_ms, cause, producer, *known))
            self._advancing = True
            is_closed = self._tables.begin(watermark_ms)
            self._advancing = False
            if not is_closed:
                self._tables.missed[number] = (cause, producer)
                self._changed = True
                return
            self._watermark_ms = self._closed_to_ms = watermark_ms
        self.due[number] = self._next_due(self._clocks[number])

    @property
    def is_closing(self) -> bool:
        """Whether windows are being closed, or events that waited go on, in slices: nothing else can be processed,
        `go_on` goes on."""
        return self._tables.progress is not None or any(each.table.is_releasing for each in self._parking.values())

    def go_on(self) -> None:
        """Close, or let go on, some more, behind a checkpoint."""
        closing = self._tables.progress
        self._changed = True
        if closing is None:
            for parked in self._parking.values():
                parked.go_on()
        else:
            self._advancing = True
            is_closed = self._tables.go_on()
            self._advancing = False
            if is_closed:
                self._watermark_ms = self._closed_to_ms = closing.watermark_ms
        if not self.is_closing:
            missed, self._tables.missed = self._tables.missed, {}
            for number, (cause, producer) in missed.items():
                self.advance(number, cause, producer)

    def stops_at(self, row: Any) -> bool:
        """Whether work stops before this row, whose time has moved the watermark."""
        if not self.is_closing:
            return False
        assert self._slice is not None
        self.stop_at(self._slice.index_of(row))
        return True

    def stop_at(self, index: int) -> None:
        """Work stops before this place in the chunk."""
        self._stopped = index

    def has_stopped(self) -> bool:
        """Whether work on the chunk at hand has stopped before its end."""
        return self._stopped is not None

    def _watermark_now(self) -> int:
        closing = self._tables.progress
        return self._clock.watermark_ms(self._watermark_ms) if closing is None else closing.watermark_ms

    def _settled_watermark(self) -> int:
        """The watermark up to this event; below every time while tables are being closed, as each will be told."""
        return -_NEVER if self._advancing else self._watermark_now()

    def _border_moved(self, watermark_ms: int) -> None:
        """Something is due at this watermark that was not known when the dues were found."""
        for number, clock in enumerate(self._clocks[: len(self.due)]):
            if clock.entry.kind is EntryKind.SOURCE:
                self.due[number] = min(self.due[number], watermark_ms + clock.entry.watermark_delay_ms)

    def _next_due(self, clock: EntryClock) -> int:
        if not self._folds or clock.entry.kind is not EntryKind.SOURCE:
            return _NEVER
        if clock.high_ms == NO_TIME:
            return NO_TIME  # the first event sets the watermark
        border = min(table.next_border(clock.watermark_ms) for _, table, _ in self._folds)
        return border + clock.entry.watermark_delay_ms

    def _emit(self, number: int, node: str, start: int, end: int, rows: Any, final: bool) -> None:
        if self.bus is not None and final and end > start:
            rows = self.bus.closing(node, start, end, rows)
        before, self._closing, self.level = (self._closing, self.level), node, ""
        try:
            with self._correlator.apart(node):
                self.functions[f"close_{number}"](start, end, rows, final)
        finally:
            self._closing, self.level = before

    def _give(self, number: int, node: str, key: Any, time_ms: int, rows: list[Any], left: Left | None = None) -> None:
        """Rows of a timer, or that have waited, go on."""
        before, self._closing, self.level = (self._closing, self.level), node, ""
        try:
            with self._correlator.apart(node, left) as probed:
                (self.functions if probed is None else probed)[f"emit_{number}"](rows, key, time_ms, None)
        finally:
            self._closing, self.level = before

    def _timer_failed(self, node: str, key: Any, timer: Timer, error: EventError) -> None:
        """A timer has no record: its dead letter says which it was."""
        value = orjson.dumps({"key": key, "timer": timer.name, "time": timer.time_ms, "clock": timer.clock})
        self._dead.row(value, node, error)

    def _wake(self, clock: EntryClock, now_ms: int) -> None:
        clock.last_active_ms = max(clock.last_active_ms, now_ms)
        if clock.idle:
            self._clock.judge(now_ms)

    def reopen(self, now_ms: int) -> None:
        """Go on after a pause, during which nothing was read or judged. Tasks behind are told that nobody is idle."""
        self._clock.reopen(now_ms)
        self._changed = self._changed or bool(self._marks.topics)

    def tick(self, now_ms: int, waits: Callable[[Entry], bool] = lambda entry: False) -> None:
        """Judge idleness by the clock; leaving an idle entry out may move the watermark and close windows. Then clock
        timers fire.

        waits: whether records of a source are known to be there that were not fetched; then it is not idle.
        """
        if self._clock.judge(now_ms, waits):
            self._changed = True
            for number in range(len(self._clocks)):
                self.advance(number, "silence")
        self._changed |= self.scorers.is_stale()
        if not self.is_closing:  # clock timers wait for what is being closed, as events do
            for table in self._clocked:
                self._changed |= table.tick(self._clock.now_ms, self._watermark_now())

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def take_checkpoint(self, now_ms: int) -> Checkpoint | None:
        """Everything since the last one, or None when nothing changed. One may be in flight at a time."""
        if self._in_flight:
            raise InternalError("a checkpoint is in flight already")
        if not self._changed:
            return None
        for number in range(0 if self.is_closing else len(self._clocks)):
            self.advance(number)  # what is shown outside never goes back, also when an idle entry returns
        watermark_ms = self._watermark_ms
        for _, table, fire in self._folds:
            table.show(watermark_ms, fire)
        self.scorers.swap()
        self._sequence += 1
        self._in_flight, self._changed = True, False
        checkpoint = Checkpoint(
            self._sequence,
            tables=self._take_tables(watermark_ms),
            positions=dict(self._positions),
            progress=self._progress(watermark_ms).encode(),
            record_count=self.pending_records,
            output_count=self.outputs.count,
            first_ms=self._first_ms,
        )
        self._marks.add(watermark_ms, self._clock.is_idle and not self.is_closing, self._clock.data_end)
        if self.bus is not None:
            self.bus.gather(checkpoint.tables)
        checkpoint.outputs, checkpoint.apart = self.outputs.take(), self._correlator.take_apart()
        if self._delivering is not None:
            checkpoint.batch = self._delivering.take(self._positions)
        checkpoint.spans = self._correlator.take_spans()
        self.pending_records = self.pending_bytes = self._first_ms = 0
        return checkpoint

    def _progress(self, watermark_ms: int) -> Progress:
        counts = () if self._ending is None else self.counters.flat()
        entries = tuple(clock.progress() for clock in self._clocks)
        return Progress(watermark_ms, entries, counts, self.scorers.versions, self._tables.progress, self._life)

    def _take_tables(self, watermark_ms: int) -> list[TableChanges]:
        # Retention counts from the last event's time: the end of a bounded run lets nothing go.
        watermark_ms = min(watermark_ms, self._before_end_ms)
        changes = [table.take_changes(watermark_ms) for _, table, _ in self._folds]
        changes += [table.take_changes() for table in self._keyed]
        return [each for each in changes if each is not None]

    def committed(self, sequence: int) -> None:
        """The checkpoint of that sequence is in Kafka and in the store."""
        if sequence != self._sequence or not self._in_flight:
            raise InternalError(f"checkpoint {sequence} is not the one in flight")
        self._in_flight = False
        for _, fold, _ in self._folds:
            fold.evict()
        for keyed in self._keyed:
            keyed.evict()

    def close(self) -> None:
        """Close the nodes of a person's code, last first. What one raises is raised when all are closed."""
        with ExitStack() as nodes:
            for table in self._processes:
                nodes.callback(table.node.close)
            if self._delivering is not None:
                nodes.callback(self._delivering.close)

    # -- seen from outside --------------------------------------------------------------------------------------------

    @property
    def watermark_ms(self) -> int:
        """The task's watermark, NO_TIME before the first event."""
        return self._clock.watermark_ms(self._watermark_ms)

    def standing(self) -> TaskStanding:
        """Where the task stands in time, for whoever asks why."""
        positions = {topic: offset for (topic, _), offset in self._positions.items()}
        clamped = self.counters.clamped
        return standing_of(self.stage.name, self.partition, self._clock, self.watermark_ms, positions, clamped)

    @property
    def in_flight(self) -> bool:
        """Whether a taken checkpoint has not been reported committed yet."""
        return self._in_flight

    @property
    def has_changes(self) -> bool:
        """Whether take_checkpoint would give one."""
        return self._changed

    @property
    def first_ms(self) -> int:
        """When the oldest records since the last checkpoint were fetched, wall clock; 0 when there are none."""
        return self._first_ms

    @property
    def pending_outputs(self) -> int:
        """Output records waiting for the next checkpoint, those that windows will tell there included."""
        return self.outputs.count + sum(count() for count in self._untold)

    @property
    def positions(self) -> Mapping[tuple[str, int], int]:
        """Next offset to process, per (topic, partition)."""
        return self._positions

    def parked(self) -> tuple[int, int, int]:
        """Keys that are parked, events that wait behind them, and keys that failed beyond the bound."""
        found = self._parking.values()
        keys, waiting = (sum(len(p.table.held) for p in found), sum(p.table.waiting_count for p in found))
        return keys, waiting, sum(p.unparked_count for p in found)

    def open_windows(self) -> int:
        """Accumulators of open windows held in memory."""
        return sum(table.live_count for _, table, _ in self._folds)
