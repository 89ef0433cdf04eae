"""The entry of a task whose first node is async: chunks wait here until their calls have been answered.

    chunk ─► offer ─► calls, `capacity` rows at a time ─► answers ─► task.process(…) of what is answered up to here

The task goes on to the first row that has no answer yet, and its position with it: what is committed is finished, what
a crash takes is asked again. So state, time and order are those of a task whose calls take no time at all. A checkpoint
never waits for a call, and rows that wait need no state: they are in the topic.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from streamflow.calls.caller import Origin
from streamflow.calls.guarded import GuardedCaller
from streamflow.engine.task import Rows, Task
from streamflow.logs.place import at
from streamflow.logs.trace import in_trace
from streamflow.model.chunk import Chunk
from streamflow.model.codec import Decoded
from streamflow.nodes.operators import Await

#: Records and bytes that wait in one entry; beyond either its partition is not fetched.
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 4 << 20
#: Calls that are started before others have a turn.
_STEP_CALLS = 500


@dataclass(slots=True)
class Batch:
    """A chunk from value `base` on. start: first value that is not processed; asked, ready: counts of its rows."""

    chunk: Chunk
    base: int
    start: int
    times: list[int] | None = None
    decoded: Decoded | None = None
    asked: int = 0
    ready: int = 0
    answered: list[bool] = field(default_factory=list)

    def place(self, row: int) -> int:
        """Index of a row's value in the chunk."""
        assert self.decoded is not None
        return self.base + (row if self.decoded.kept is None else self.decoded.kept[row])

    def part(self, start: int, stop: int) -> Rows:
        """What was decoded from `chunk.values[start:stop]`."""
        assert self.decoded is not None
        rows, kept = self.decoded.rows, self.decoded.kept
        first, last = start - self.base, stop - self.base
        bad = [(place - first, error) for place, error in self.decoded.bad if first <= place < last]
        if kept is not None:
            first, last = bisect_left(kept, first), bisect_left(kept, last)
            kept = [place + self.base - start for place in kept[first:last]]
        return self.times and self.times[first:last], Decoded(rows[first:last], kept, bad)


class AsyncEntry:
    """Entry `number` of a task, in front of async node `node`. owner: identity of the run."""

    def __init__(self, task: Task, number: int, node: str, guarded: GuardedCaller, operator: Await, owner: str) -> None:
        self._task, self._number, self._owner = task, number, owner
        self.node = node
        self._guarded, self._capacity, self._ends_soon = guarded, operator.capacity, operator.ends_soon
        self._answers = task.answers[node]
        self._batches: deque[Batch] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._outstanding = 0
        self._moved = asyncio.Event()
        self._error: BaseException | None = None
        self._stopping = False
        self.waiting_count = self.waiting_bytes = 0
        entry = task.stage.entries[number]
        self._place = entry.topic, task.partition
        self._at = {"task": f"{task.stage.name}/{task.partition}", "node": node}
        self.next_offset = task.positions.get(self._place, 0)

    def offer(self, chunk: Chunk) -> None:
        """Let a chunk wait; what came before is left out."""
        if chunk.next_offset <= self.next_offset or self._stopping:
            return
        first = 0
        while first < len(chunk.values) and chunk.offset_at(first) < self.next_offset:
            first += 1
        self._batches.append(Batch(chunk, first, first))
        self.next_offset = chunk.next_offset
        self.waiting_count += len(chunk.values) - first
        self.waiting_bytes += chunk.size_bytes
        self._moved.set()

    @property
    def is_full(self) -> bool:
        """Whether a bound is reached."""
        return self.waiting_count >= MAX_WAITING or self.waiting_bytes >= MAX_WAITING_BYTES

    @property
    def has_room(self) -> bool:
        """Whether half of the bounds is free."""
        return self.waiting_count < MAX_WAITING // 2 and self.waiting_bytes < MAX_WAITING_BYTES // 2

    @property
    def under_way(self) -> int:
        """Calls that have not ended, pauses between attempts included."""
        return len(self._calls)

    async def serve(self, pace: Callable[[], Awaitable[None]]) -> None:
        """Ask and process until cancelled. `pace` is awaited after each step. Raises what `Task.process` does."""
        while True:
            if await self._step():
                await pace()

    def wake(self) -> None:
        """What it could not hand over while windows were being closed may go on."""
        self._moved.set()

    async def settle(self, steps: int | None = None) -> None:
        """Ask and process until nothing waits, windows are being closed in slices, or so many steps are taken."""
        while self._batches and not self._task.is_closing and steps != 0:
            await self._step()
            steps = None if steps is None else steps - 1

    async def _step(self) -> bool:
        """Process what can be; otherwise wait until something happens. Whether anything was processed."""
        if self._error is not None:
            raise self._error
        asked = self._ask()
        if self._process():
            await asyncio.sleep(0)
            return True
        if asked >= _STEP_CALLS:
            await asyncio.sleep(0)  # there may be more to ask
            return False
        self._moved.clear()
        await self._moved.wait()
        return False

    def _ask(self) -> int:
        """Start calls while there is room for them, so many at once; gives how many."""
        asked = 0
        room = 0 if self._stopping else min(self._capacity - self._outstanding, _STEP_CALLS)
        for batch in self._batches:
            if asked >= room:
                break
            if batch.decoded is None:
                batch.times, batch.decoded = self._task.decode(self._number, batch.chunk.values[batch.base :])
                batch.answered = [False] * len(batch.decoded.rows)
                self._begin(batch)
            rows = len(batch.decoded.rows)
            while batch.asked < rows and asked < room and self._may_ask(batch, batch.asked):
                if not batch.answered[batch.asked]:
                    call = asyncio.create_task(self._call(batch, batch.asked))
                    self._calls.add(call)
                    call.add_done_callback(self._calls.discard)
                    self._outstanding += 1
                    asked += 1
                batch.asked += 1
        return asked

    def _begin(self, batch: Batch) -> None:
        """A batch was decoded: what is `answered` already is not asked."""

    def _may_ask(self, batch: Batch, row: int) -> bool:
        """Whether a row is near enough to those that are not done."""
        return True

    async def _call(self, batch: Batch, row: int) -> None:
        assert batch.decoded is not None
        value, chunk, place = batch.decoded.rows[row], batch.chunk, batch.place(row)
        run = chunk.run_at(place)
        offset = run.offset + place - run.index
        time_ms = batch.times[row] if batch.times is not None else run.max_timestamp_ms
        origin = Origin(self._owner, *self._place, offset, run.max_timestamp_ms, time_ms)
        traced = chunk.traces.get(place)
        try:
            with at(self._at), in_trace(traced.trace_id if traced else ""):
                answer = await self._guarded.answer(value, origin)
            self._answers.put(value, answer)
            self._answered(batch, row)
        except Exception as error:
            self._error = error
        self._moved.set()

    def _answered(self, batch: Batch, row: int) -> None:
        batch.answered[row] = True

    def _process(self) -> bool:
        """Hand over what is answered without a gap; whether there was anything."""
        moved = False
        while self._batches and not self._task.is_closing:
            batch = self._batches[0]
            if batch.decoded is None:
                break
            before, count = batch.ready, len(batch.answered)
            while batch.ready < count and batch.answered[batch.ready]:
                batch.ready += 1
            chunk = batch.chunk
            stop = batch.place(batch.ready) if batch.ready < count else len(chunk.values)
            if stop == batch.start and batch.ready < count:
                break
            if chunk.values or chunk.marks:
                given = self._part(batch, batch.start, stop)
                done = self._task.process(self._number, chunk, batch.start, stop, given)
            else:
                self._task.skip(chunk)
                done = stop
            self._leave(batch.ready - before)
            self.waiting_count -= done - batch.start
            batch.start, moved = done, True
            if batch.ready < count or done < stop:
                if done == stop and not self._task.is_closing:
                    self._task.hear_before(self._number, chunk, stop)
                break
            self._batches.popleft()
            self.waiting_bytes -= chunk.size_bytes
        return moved

    def _part(self, batch: Batch, start: int, stop: int) -> Rows:
        """What the task is to work through at `chunk.values[start:stop]`."""
        return batch.part(start, stop)

    def _leave(self, count: int) -> None:
        """So many rows are done, in order."""
        self._outstanding -= count

    # -- life ---------------------------------------------------------------------------------------------------------

    async def stop(self, grace_s: float) -> None:
        """Ask no more; let calls under way end within `grace_s`, process what is answered, forget the rest."""
        self._stopping = True
        if self._calls and self._ends_soon:
            await asyncio.wait(self._calls, timeout=grace_s)
        if self._error is None:
            self._process()
        await self.abandon()

    async def abandon(self) -> None:
        """Forget everything that waits; what is under way is cancelled."""
        self._stopping = True
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=1.0)
        for row in (row for batch in self._batches if batch.decoded is not None for row in batch.decoded.rows):
            self._answers.drop(row)
        self._batches.clear()
        self._outstanding = self.waiting_count = self.waiting_bytes = 0

    def stuck(self) -> list[Origin]:
        """Rows of any task whose call goes on although its time is over."""
        return self._guarded.stuck()
