"""One task on this worker: its producer, store and engine task, and its life.

                                PAUSED
                       ordered   ▲ │ ordered (obedience.py)
                                 │ ▼
    OPENING ──► RESTORING ──► RUNNING ──► CLOSED
       │            │            │ ▲
       │            │            ▼ │ assigned again after a rebalance
       │            │         SUSPENDED ──► CLOSED        from PAUSED too, and back to it
       └────────────┴── cancelled ────────► CLOSED

Commits run beside the work: while one transaction is on its way, chunks go on being processed into the next checkpoint,
up to the bounds of `Pacing`. At most one transaction per task is open.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import StrEnum

from streamflow.bus.detail import DataPathBus
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.checkpoint.pacing import Pacing, Rolling, Turns
from streamflow.checkpoint.progress import END_OF_TIME, Progress
from streamflow.checkpoint.snapshot import committed_digest
from streamflow.clock.clock import Clock
from streamflow.engine.async_entry import AsyncEntry
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.engine.delivering import Resources
from streamflow.engine.global_table import GlobalTable
from streamflow.engine.levels import PIECE, Levels
from streamflow.engine.program import Program
from streamflow.engine.slice import slice_records
from streamflow.engine.task import Task
from streamflow.errors import InternalError
from streamflow.logs.place import at
from streamflow.model.chunk import Chunk
from streamflow.plan.plan import Stage
from streamflow.runtime import faults
from streamflow.runtime.changelog import Changelog
from streamflow.runtime.figures import StreamFigures
from streamflow.runtime.models import bring_models
from streamflow.runtime.recovery import OpenState, Recovery, RestoreProgress
from streamflow.runtime.transaction import TaskProducer
from streamflow.state.store import StoreMeta
from streamflow.state.write_behind import WriteBehindStore

log = logging.getLogger(__name__)

#: Records worked through before the loop gets a turn: some 3 to 5 ms.
SLICE = 4_000
#: What is due later than so is left to `tick`.
_SOON_MS = 50.0
#: How long a pause lets calls to the outside end, seconds.
_CALLS_S = 5.0


class TaskState(StrEnum):
    """See the drawing above."""

    OPENING = "opening"
    RESTORING = "restoring"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class HostedTask:
    """A task that this worker owns. `on_failure` is told when a commit fails; it decides what happens to the worker."""

    def __init__(
        self,
        stage: Stage,
        partition: int,
        program: Program,
        producer: TaskProducer,
        pacing: Pacing,
        turns: Turns,
        partition_counts: dict[str, int],
        on_failure: Callable[["HostedTask", BaseException], None],
        on_commit: Callable[["HostedTask", Checkpoint, float], None],
        on_chunk: Callable[["HostedTask", int, float], None],
        clock: Clock,
        tables: Mapping[str, GlobalTable],
        calls: AsyncNodes,
        ends: Mapping[tuple[str, int], int] | None = None,
        bus: DataPathBus | None = None,
        resources: Resources | None = None,
    ) -> None:
        self._bus, self._resources = bus, resources or Resources()
        self._ends = ends
        self._calls = calls
        self._waiting: Mapping[str, AsyncEntry] = {}
        self._levels = Levels(stage, lambda topic: 0)
        self._offered = asyncio.Event()
        self._told_stuck = False
        self._serving: list[asyncio.Task[None]] = []
        self._clock, self._on_chunk, self._tables = clock, on_chunk, tables
        self.stage, self.partition = stage, partition
        self.state = TaskState.OPENING
        self.restore, self.figures = RestoreProgress(), StreamFigures()
        #: Held by whoever lets it do what was ordered.
        self.obeying = asyncio.Lock()
        self._draining = self._held = False
        self.moved_at = time.monotonic()
        self.committed_positions: dict[tuple[str, int], int] = {}
        self.committed_watermark_ms: int | None = None
        self._committed_progress = ""
        self._program, self._producer, self._pacing, self._counts = program, producer, pacing, partition_counts
        self._turns = turns
        self._due: asyncio.TimerHandle | None = None
        self._on_failure, self._on_commit = on_failure, on_commit
        self._task: Task | None = None
        self._store: WriteBehindStore | None = None
        self._meta = StoreMeta()
        self._commit: asyncio.Task[None] | None = None
        self._close: asyncio.Task[None] | None = None
        self._close_lock = asyncio.Lock()
        self._started_ms = 0.0
        self._changelogs = {t.name: Changelog(t.changelog_topic, partition, t.layout) for t in stage.tables}
        self._entries = {entry.topic: number for number, entry in enumerate(stage.entries)}
        self._slice = slice_records(stage, SLICE)

    @property
    def name(self) -> str:
        """`stage/partition`."""
        return f"{self.stage.name}/{self.partition}"

    @property
    def task(self) -> Task:
        """The engine's task; only while it `is_open`."""
        if self._task is None:
            raise InternalError(f"task {self.name} is not open")
        return self._task

    @property
    def store(self) -> WriteBehindStore | None:
        """The committed state, None before it is open."""
        return self._store

    async def open(self, recovery: Recovery) -> None:
        """Fence the predecessor, restore, be ready to run."""
        await self._producer.start()
        self.state = TaskState.RESTORING
        opened = await recovery.open(self.stage, self.partition, self.restore)
        try:
            if self._resources.models is not None:
                await bring_models(self._resources.models, self.stage, self._tables, opened.progress.versions)
        except BaseException:
            opened.store.close()
            raise
        self._adopt(opened)

    def _adopt(self, opened: OpenState) -> None:
        self._store, self._meta = opened.store, opened.meta
        self.committed_positions = dict(opened.positions)
        self.committed_watermark_ms = opened.progress.watermark_ms
        self._committed_progress = opened.progress.encode()
        self._producer.continue_from(opened.positions, opened.progress)
        self._task = Task(
            self._program,
            self.partition,
            store=opened.store,
            partition_counts=self._counts,
            progress=_of_a_life(opened),
            now_ms=self._clock.wall_ms(),
            positions=opened.positions,
            tables=self._tables,
            resources=self._resources,
            bus=self._bus,
        )
        if self._ends is not None:
            self._task.end_at(self._ends)
        self.state = TaskState.RUNNING

    @property
    def has_ended(self) -> bool:
        """Whether the end of a bounded run is committed."""
        return (self.committed_watermark_ms or 0) >= END_OF_TIME

    def is_read(self, place: tuple[str, int]) -> bool:
        """Whether an input of a bounded run is read up to its end, so that it need not be fetched."""
        return self.task.is_read(place)

    def has_missed(self, chunk: Chunk) -> bool:
        """Whether the chunk begins behind what comes next: one before it was dropped, and must be fetched again."""
        return chunk.position is not None and chunk.position > self.next_offset((chunk.topic, chunk.partition))

    def next_offset(self, place: tuple[str, int]) -> int:
        """Offset of an input that the next chunk begins with: the position, or what follows what waits here."""
        waiting = self._waiting.get(place[0])
        if waiting is not None:
            return waiting.next_offset
        return self._levels.next_offset(place[0]) if place[0] in self._levels else self.task.positions.get(place, 0)

    def is_full(self, place: tuple[str, int], *, half: bool = False) -> bool:
        """Whether so much waits for calls to the outside (`half`: half as much), or for other levels, that no more is
        to be fetched."""
        waiting = self._waiting.get(place[0])
        if waiting is not None:
            return not waiting.has_room if half else waiting.is_full
        return self.orders(place[0]) and self._levels.is_full(place[0])

    def orders(self, topic: str) -> bool:
        """Whether chunks of a topic wait for their turn by level."""
        return topic in self._levels and topic not in self._waiting

    def forget(self, topics: Collection[str]) -> None:
        """What waits for its turn by level is read again, unless the task was taken away meanwhile."""
        if self._task is not None:
            self._levels.forget(topics, lambda topic: self.task.positions.get((topic, self.partition), 0))

    async def work(self, chunk: Chunk) -> None:
        """Process a chunk in slices. Records before the position are skipped (they are from before a seek)."""
        if chunk.topic in self._waiting:
            self._waiting[chunk.topic].offer(chunk)
            return
        if chunk.topic in self._levels:
            self._levels.offer(chunk)
            self._offered.set()
            return
        entry, task = self._entries[chunk.topic], self.task
        position = task.positions.get((chunk.topic, chunk.partition), 0)
        if chunk.next_offset <= position:
            return
        if not chunk.values and not chunk.marks:
            task.skip(chunk)
            return
        count = task.room(chunk)
        start = _first_at(chunk, position)
        spent_s = 0.0
        is_done = False
        while self.state is TaskState.RUNNING and not is_done:
            if task.is_closing:
                await self._close_on()
                continue
            stop = min(start + task.scorers.slice_records(self._slice), count)
            began = time.monotonic()
            start = task.process(entry, chunk, start, stop)
            self.moved_at = time.monotonic()
            spent_s += self.moved_at - began
            is_done = start >= count
            await self._pace()
            if not is_done:
                await asyncio.sleep(0)  # HTTP, heartbeats and other tasks get a turn
        if is_done:
            self._on_chunk(self, count, spent_s)

    async def _work_by_level(self) -> None:
        """Process what waits, by level, until cancelled."""
        task, levels = self.task, self._levels
        try:
            while self.state is TaskState.RUNNING:
                if task.is_closing:
                    await self._close_on()
                    continue
                found = levels.first()
                if found is None:
                    self._offered.clear()
                    await self._offered.wait()
                    continue
                entry, chunk, start = found
                count, began = max(start, task.room(chunk)), time.monotonic()
                if chunk.values or chunk.marks:
                    stop = min(start + PIECE, count)
                    stop = task.process(entry, chunk, start, stop)
                else:
                    task.skip(chunk)
                    stop = count
                levels.done(chunk, stop, whole=stop >= count)
                self.moved_at = time.monotonic()
                self._on_chunk(self, stop - start, self.moved_at - began)
                await self._pace()
                await asyncio.sleep(0)
        except Exception as error:
            self._on_failure(self, error)
            raise

    async def _pace(self) -> None:
        task = self.task
        self.commit_if_due()
        while self._pacing.is_full(task.pending_outputs, task.pending_bytes) and self.is_committing:
            self.figures.hold()
            await asyncio.wait([self._commit_task])
        self.commit_if_due()

    async def _close_on(self) -> None:
        """While windows are being closed in slices, commit each; nothing else is worked on before they are."""
        async with self._close_lock:
            while self.state is TaskState.RUNNING and self.task.is_closing:
                if self.is_committing:
                    await asyncio.wait([self._commit_task])
                elif self.task.has_changes:
                    self._begin_commit()
                    await asyncio.sleep(0)
                if self.state is TaskState.RUNNING and self.task.is_closing:
                    self.task.go_on()
                    self.moved_at = time.monotonic()
        for waiting in self._waiting.values():
            waiting.wake()

    @property
    def buffer_ratio(self) -> float:
        """How full the buffer of what waits for a commit is, at most 1."""
        return self._pacing.ratio(self.task.pending_outputs, self.task.pending_bytes)

    @property
    def is_committing(self) -> bool:
        """Whether a transaction is on its way."""
        return self._commit is not None and not self._commit.done()

    @property
    def _commit_task(self) -> "asyncio.Task[None]":
        assert self._commit is not None
        return self._commit

    def tick(self, waits: Callable[[tuple[str, int]], bool]) -> None:
        """Judge idleness, and commit what waits. Called some times a second.

        waits: whether records of an input (topic, partition) are known that the task has not come to.
        """
        if self.state is TaskState.RUNNING:
            self._see_calls()
            if not self._draining:  # sources that are not fetched any more are not idle
                self.task.tick(
                    self._clock.wall_ms(),
                    lambda entry: self._levels.holds(entry.topic) or waits((entry.topic, self.partition)),
                )
            self.commit_if_due()
            if self.task.is_closing and not self._close_lock.locked():
                self._close = asyncio.create_task(self._close_quietly(), name=f"close windows {self.name}")

    async def _close_quietly(self) -> None:
        """Close on when no chunk is there to do it."""
        try:
            await self._close_on()
        except BaseException as error:
            self._on_failure(self, error)
            raise

    def _see_calls(self) -> None:
        """Calls that are under way within their time are progress; one that does not end is none, and is named."""
        for waiting in self._waiting.values():
            stuck = waiting.stuck()
            if not stuck and waiting.under_way:
                self.moved_at = time.monotonic()
            elif stuck and not self._told_stuck:
                self._told_stuck = True
                said = "a call for %s does not end although its time is over: it ignores its cancellation"
                log.error(said, stuck[0], extra={"task": self.name, "node": waiting.node})

    def commit_if_due(self) -> None:
        """Start a commit when there is something to commit, none is on its way, and it is time."""
        task = self.task
        if self.state is not TaskState.RUNNING or self.is_committing or not task.has_changes or task.in_flight:
            return
        now_ms = self._clock.monotonic_ms()
        since_ms = now_ms - self._started_ms
        if isinstance(self._pacing, Rolling):
            if task.watermark_ms >= END_OF_TIME:
                since_ms = math.inf  # nothing comes any more
            elif task.first_ms:
                since_ms = self._clock.wall_ms() - task.first_ms
        gap_ms = self._turns.gap_ms(now_ms)
        wait_ms = self._pacing.wait_ms(since_ms, gap_ms, task.pending_records, task.pending_outputs, task.pending_bytes)
        if wait_ms <= 0:
            self._begin_commit()
        elif self._due is None and wait_ms < _SOON_MS:
            self._due = asyncio.get_running_loop().call_later(wait_ms / 1_000, self._come_due)

    def _come_due(self) -> None:
        self._due = None
        self._go_on()

    def _go_on(self) -> None:
        """Commit what is due, where nobody would hear of what that raises."""
        try:
            self.commit_if_due()
        except Exception as error:
            self._on_failure(self, error)

    def _begin_commit(self) -> None:
        checkpoint = self.task.take_checkpoint(self._clock.wall_ms())
        if checkpoint is None:
            return
        self.moved_at = time.monotonic()  # a commit that begins is progress; one that does not end is none
        self._started_ms = self.moved_at * 1_000
        self._turns.take(self, self._started_ms)
        with at({"task": self.name}):
            self._commit = asyncio.create_task(self._run_commit(checkpoint), name=f"commit {self.name}")

    async def _run_commit(self, checkpoint: Checkpoint) -> None:
        started = time.monotonic()
        try:
            if faults.mistake() == "store_before_commit":
                self._apply(checkpoint, {})
                self.flush_store()
            if checkpoint.batch is not None:
                await asyncio.to_thread(checkpoint.batch.prepare)
                checkpoint.batch.put_aside(checkpoint)
            offsets = await self._producer.commit(checkpoint, self._changelogs)
            if checkpoint.batch is not None:
                await asyncio.to_thread(checkpoint.batch.settle)
            faults.reach("before_store")
            self._apply(checkpoint, offsets)
            faults.reach("after_store")
        except BaseException as error:  # whoever waits for it has no use for it, the host has
            self._on_failure(self, error)
            raise
        self.figures.committed(checkpoint.record_count, checkpoint.first_ms, self._clock.wall_ms())
        self._on_commit(self, checkpoint, time.monotonic() - started)
        self._go_on()

    def _apply(self, checkpoint: Checkpoint, offsets: dict[str, int]) -> None:
        assert self._store is not None
        inputs = {f"{topic}/{partition}": offset for (topic, partition), offset in checkpoint.positions.items()}
        changelog = {**self._meta.changelog, **offsets}
        self._meta = replace(self._meta, changelog=changelog, inputs=inputs, progress=checkpoint.progress)
        self._store.write(checkpoint.tables, self._meta)
        if self.task.in_flight:
            self.task.committed(checkpoint.sequence)
        self.committed_positions = dict(checkpoint.positions)
        self._committed_progress = checkpoint.progress
        self.committed_watermark_ms = Progress.decode(checkpoint.progress).watermark_ms

    @property
    def version(self) -> str:
        """Digest of what the group has committed: tasks with the same one hold the same state, whoever runs them, but
        for what happens by the wall clock.
        """
        return committed_digest(self.committed_positions.items(), self._committed_progress)

    def read_position(self, place: tuple[str, int]) -> int:
        """Next offset of an input that the task has not processed."""
        return self._task.positions.get(place, 0) if self._task is not None else 0

    def flush_store(self) -> None:
        """Write what the store holds back to the disk."""
        if self._store is not None:
            self._store.flush()

    @property
    def reflected_positions(self) -> dict[tuple[str, int], int]:
        """Per input the offset up to which the store reflects it; all that was read when nothing waits."""
        if self._task is None or self._task.has_changes or self._task.in_flight:
            return self.committed_positions
        return dict(self._task.positions)

    async def suspend(self, budget_s: float) -> None:
        """Stop working and commit what is done, within a budget. What does not fit is done again by the next owner."""
        if self.state not in (TaskState.RUNNING, TaskState.PAUSED):
            return
        try:
            async with asyncio.timeout(budget_s):
                await self._end_calls(budget_s / 3)
                self.state = TaskState.SUSPENDED  # work in progress ends at its next slice
                await self._settle()
                if self.state is TaskState.SUSPENDED and self.task.has_changes and not self.task.in_flight:
                    self._begin_commit()
                    await self._settle()
                await self._producer.settle_offsets()
        except TimeoutError:
            if self.state in (TaskState.RUNNING, TaskState.PAUSED):
                self.state = TaskState.SUSPENDED
            said = "task %s: the last checkpoint did not fit into %.1f s; it is done again"
            log.warning(said, self.name, budget_s, extra={"task": self.name})

    async def _end_calls(self, grace_s: float) -> None:
        """Calls under way may end; what is answered by then is processed, the rest is asked again later."""
        await self._stop_serving()
        await asyncio.gather(*(waiting.stop(grace_s) for waiting in self._waiting.values()))

    async def _stop_serving(self) -> None:
        serving, self._serving = self._serving, []
        for each in serving:
            each.cancel()
        if serving:
            await asyncio.wait(serving)

    async def _serve(self, waiting: AsyncEntry) -> None:
        try:
            await waiting.serve(self._pace_calls)
        except Exception as error:
            self._on_failure(self, error)
            raise

    async def _pace_calls(self) -> None:
        self.moved_at = time.monotonic()
        await self._pace()
        if self.task.is_closing:
            await self._close_on()

    async def _settle(self) -> None:
        while self.is_committing:
            await asyncio.wait([self._commit_task])

    async def pause(self) -> bool:
        """Stop working and commit what is done, however long that takes; whether it is so, or it was taken away."""
        if self._serving:
            before = self.state
            await self._end_calls(_CALLS_S)
            if self.state is not before:
                return False
        self.state, self._held = TaskState.PAUSED, True  # work in progress ends at its next slice
        while self.state is TaskState.PAUSED:
            if self.is_committing:
                await self._settle()
            elif self.task.has_changes and not self.task.in_flight:
                self._begin_commit()
            else:
                await self._producer.settle_offsets()
                break
        return self.state is TaskState.PAUSED and not (self.task.has_changes or self.task.in_flight)

    def drain(self) -> None:
        """Its sources are not fetched any more: from now on nothing judges whether they are idle."""
        self._draining = self._held = True

    @property
    def is_held(self) -> bool:
        """Whether it was paused or drained, and has not gone on since."""
        return self._held

    @property
    def is_open(self) -> bool:
        """Whether its state can be looked at."""
        return self.state in (TaskState.RUNNING, TaskState.PAUSED, TaskState.SUSPENDED)

    def resume(self) -> None:
        """Begin, or go on after a rebalance that left the task here, or after a pause."""
        self.moved_at = time.monotonic()
        if self._held:
            self.task.reopen(self._clock.wall_ms())
        self._draining = self._held = False
        self.state = TaskState.RUNNING
        if not self._serving:
            self._waiting = self._calls.entries(self.stage, self.task)
            self._serving = [
                asyncio.create_task(self._serve(each), name=f"calls of {self.name}") for each in self._waiting.values()
            ]
            self._levels = Levels(self.stage, lambda topic: self.task.positions.get((topic, self.partition), 0))
            if any(map(self.orders, self.stage.input_topics)):
                self._serving.append(asyncio.create_task(self._work_by_level(), name=f"levels of {self.name}"))

    async def close(self, *, dirty: bool = False) -> None:
        """Release everything. `dirty`: write nothing more, not even what waits for the disk of this store."""
        if self.state is TaskState.CLOSED:
            return
        self.state = TaskState.CLOSED
        self._turns.leave(self)
        if self._due is not None:
            self._due.cancel()
        await self._stop_serving()
        await asyncio.gather(*(waiting.abandon() for waiting in self._waiting.values()))
        if self._commit is not None and not self._commit.done():
            self._commit.cancel()
            await asyncio.wait([self._commit])
        await self._producer.close()
        if self._store is not None:
            store, self._store = self._store, None
            store.abandon() if dirty else store.close()
        task, self._task = self._task, None
        if task is not None:
            try:
                task.close()
            except Exception:
                said = "task %s: a node could not be closed; its state is safe"
                log.exception(said, self.name, extra={"task": self.name})


def _of_a_life(opened: OpenState) -> Progress:
    """What was committed, or in at-least-once is in the store; the first checkpoint begins a life."""
    life = opened.progress.life or Progress.decode(opened.meta.progress).life or secrets.token_hex(4)
    return replace(opened.progress, life=life)


def _first_at(chunk: Chunk, position: int) -> int:
    """Index of the first value at or after a position."""
    index = 0
    while index < len(chunk.values) and chunk.offset_at(index) < position:
        index += 1
    return index
