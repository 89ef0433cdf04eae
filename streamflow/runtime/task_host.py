"""The tasks of a worker: opened when partitions are assigned, suspended and closed when they are taken away.

A rebalance of the group takes everything from everybody and gives most of it back. Tasks that come back stay open: only
their consumer position is set again. Between the two nobody is hurt by an owner that came in between: its producer has
fenced ours, and the first commit says so.

New tasks open in the background, so that a long restore holds up neither the group nor other tasks; their partitions
are fetched only when they run (`ready`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from streamflow.bus.log import NO_EVENTS
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.errors import BrokerUnavailable, Fenced
from streamflow.logs.place import at
from streamflow.model.chunk import Chunk
from streamflow.runtime import faults
from streamflow.runtime.assignor import TaskId
from streamflow.runtime.hooks.ending import end
from streamflow.runtime.hosted_task import HostedTask, TaskState
from streamflow.runtime.recovery import Recovery
from streamflow.runtime.task_events import TaskEvents

log = logging.getLogger(__name__)

_OPEN_ATTEMPTS = 5
_OPEN_BACKOFF_S = 0.5


class TaskHost:
    """Owns the tasks of this worker. `make` builds a task, `seek` sets a consumer position, `fail` ends the worker."""

    def __init__(
        self,
        stages: dict[str, tuple[str, ...]],
        make: Callable[[TaskId, "TaskHost"], HostedTask],
        recovery: Recovery,
        seek: Callable[[dict[tuple[str, int], int]], Awaitable[None]],
        fail: Callable[[BaseException], None],
        revoke_budget_s: float,
    ) -> None:
        self._inputs = stages
        self._make, self._recovery, self._seek, self._fail = make, recovery, seek, fail
        self._budget_s = revoke_budget_s
        self.tasks: dict[TaskId, HostedTask] = {}
        self.ready: set[tuple[str, int]] = set()
        self._paused: set[tuple[str, int]] = set()
        self.events = TaskEvents(NO_EVENTS, "", "")
        self.generation = -1
        self.assigned = False
        self.stopping = False
        self._openings: dict[TaskId, asyncio.Task[None]] = {}
        self.commits: list[Callable[[HostedTask, Checkpoint, float], None]] = []
        self.chunks: list[Callable[[HostedTask, int, float], None]] = []
        #: Lets a task that was opened or given back begin.
        self.admit: Callable[[HostedTask], Awaitable[None]] = self.let_run

    # -- called by the hooks ------------------------------------------------------------------------------------------

    async def on_revoked(self) -> None:
        """Suspend everything: no more work, what is done gets committed, within the budget for all together."""
        self.assigned = False
        self.ready.clear()
        self._paused.clear()
        await self._cancel_openings()
        faults.reach("during_revoke")
        await asyncio.gather(*(task.suspend(self._budget_s) for task in self.tasks.values()))

    async def on_assigned(self, assigned: set[tuple[str, int]], generation: int) -> None:
        """Close what went away, go on with what stayed, open what is new."""
        self.generation = generation
        wanted = {
            (stage, partition)
            for stage, topics in self._inputs.items()
            for topic, partition in assigned
            if topic == topics[0]
        }
        gone = [task_id for task_id, task in self.tasks.items() if task_id not in wanted]
        await asyncio.gather(*(self._drop(task_id) for task_id in gone))
        if self.stopping:
            return  # the rebalance was under way; nothing is opened any more
        for task_id in sorted(wanted):
            self._openings[task_id] = asyncio.create_task(self._bring_up(task_id), name=f"open {task_id}")
        self.assigned = True

    def on_full(self, topic: str, partition: int) -> None:
        """A partition is not fetched until its stage has worked on the chunks that wait for it."""
        for task in self.tasks.values():
            if task.partition == partition and topic in task.stage.input_topics:
                task.figures.hold()

    def fail(self, error: BaseException) -> None:
        """The worker cannot go on."""
        self._fail(error)

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def _bring_up(self, task_id: TaskId) -> None:
        with at({"task": "{}/{}".format(*task_id)}):
            try:
                task = self.tasks.get(task_id)
                if task is None or task.state is not TaskState.SUSPENDED:
                    task = await self._open(task_id)
                await self.admit(task)
            except asyncio.CancelledError:
                raise
            except Fenced as error:
                log.warning("task %s/%s was fenced while opening: %s", *task_id, error)
            except BaseException as error:
                self.fail(error)

    async def let_run(self, task: HostedTask, topics: Collection[str] | None = None) -> None:
        """Fetch for a task from where it stands, all of its inputs or these, unless it is taken away meanwhile."""
        before = task.state
        wanted = [place for place in task.task.positions if topics is None or place[0] in topics]
        try:
            await self._seek({place: task.task.positions[place] for place in wanted if place not in self.ready})
        except Exception:
            if task.state is before:
                raise
        if task.state is before:
            task.resume()
            self.ready.update(place for place in wanted if not task.is_read(place))

    def hold(self, task: HostedTask, topics: Collection[str]) -> None:
        """Fetch these inputs no more; what is fetched already is dropped, and read again when it goes on."""
        places = {(topic, task.partition) for topic in topics}
        self.ready.difference_update(places)
        self._paused.difference_update(places)
        task.forget(topics)

    async def _open(self, task_id: TaskId) -> HostedTask:
        for attempt in range(1, _OPEN_ATTEMPTS + 1):
            task = self.tasks[task_id] = self._make(task_id, self)
            try:
                await task.open(self._recovery)
            except BrokerUnavailable as error:
                await self._drop(task_id, dirty=True)
                if attempt == _OPEN_ATTEMPTS:
                    raise
                log.warning("task %s/%s: attempt %s to open failed: %s", *task_id, attempt, error)
                await asyncio.sleep(_OPEN_BACKOFF_S * 2**attempt)
            except BaseException:
                await self._drop(task_id, dirty=True)
                raise
            else:
                self.events.opened(task)
                return task
        raise AssertionError("unreachable")

    async def _drop(self, task_id: TaskId, *, dirty: bool = False, reason: str = "rebalance") -> None:
        task = self.tasks.pop(task_id, None)
        if task is not None:
            await task.close(dirty=dirty)
            self.events.closed(task, reason)

    async def _cancel_openings(self) -> None:
        openings = [opening for opening in self._openings.values() if not opening.done()]
        self._openings.clear()
        await asyncio.gather(*map(end, openings))

    def on_failure(self, task: HostedTask, error: BaseException) -> None:
        """A commit failed. Fenced: drop the task, a newer owner has it. Anything else: unknown outcome, end."""
        if isinstance(error, asyncio.CancelledError):
            return
        self.events.failed(task, error)
        if isinstance(error, Fenced):
            said = "task %s: %s; dropping what was not committed"
            log.warning(said, task.name, error, extra={"task": task.name})
            self.hold(task, task.stage.input_topics)
            asyncio.get_running_loop().create_task(self._fenced(task))
            return
        self.fail(error)

    async def _fenced(self, task: HostedTask) -> None:
        """Close a fenced task. Who fenced it is decided by the group, not by us: opening it again at once could fence
        the rightful owner. Only when the assignment has stood for three revoke budgets (a session time-out) without
        change was it the broker, which ends transactions that take too long; then it is opened again.
        """
        task_id, generation = (task.stage.name, task.partition), self.generation
        if self.tasks.get(task_id) is task:
            await self._drop(task_id, dirty=True, reason="fenced")
        await asyncio.sleep(3 * self._budget_s)
        if self.assigned and self.generation == generation and task_id not in self.tasks and not self.stopping:
            self._openings[task_id] = asyncio.create_task(self._bring_up(task_id), name=f"open {task_id}")

    def on_commit(self, task: HostedTask, checkpoint: Checkpoint, took_s: float) -> None:
        """A checkpoint is in Kafka and in the store."""
        for listener in self.commits:
            listener(task, checkpoint, took_s)

    def on_chunk(self, task: HostedTask, count: int, took_s: float) -> None:
        """A chunk of `count` records was processed in `took_s` of work."""
        for listener in self.chunks:
            listener(task, count, took_s)
        for topic in filter(task.orders, task.stage.input_topics):
            place = topic, task.partition
            if task.is_read(place):
                self.ready.discard(place)
                self._paused.discard(place)
            elif place in self._paused and not task.is_full(place):
                self._paused.discard(place)
                self.ready.add(place)

    async def feed(self, stage: str, chunk: Chunk) -> None:
        """A chunk for a stage's task. Chunks of an older assignment are dropped: positions are set anew with each."""
        task = self.tasks.get((stage, chunk.partition))
        if task is None or task.state is not TaskState.RUNNING or chunk.generation != self.generation:
            return
        place = (chunk.topic, chunk.partition)
        if place not in self.ready and not (place in self._paused and task.orders(chunk.topic)):
            return  # what was fetched before an order by level was full, some chunks at most, is kept
        if task.has_missed(chunk):
            await self._seek({place: task.next_offset(place)})
            return
        await task.work(chunk)
        if task.is_full(place):
            self.ready.discard(place)  # fetching goes on when some of what waits is done
            self._paused.add(place)
            task.figures.hold()
        if task.state is TaskState.RUNNING and task.is_read(place):
            self.ready.discard(place)

    def is_fetched(self, place: tuple[str, int]) -> bool:
        """Whether an input is fetched, or would be if there was room."""
        return place in self.ready or place in self._paused

    def tick(self, waits: Callable[[HostedTask, tuple[str, int]], bool]) -> None:
        """Idleness and waiting commits of every task."""
        for task in list(self.tasks.values()):
            task.tick(partial(waits, task))
            if task.state is TaskState.RUNNING:
                self._go_on(task)

    def _go_on(self, task: HostedTask) -> None:
        """Fetch again what had to wait for calls."""
        places = {(topic, task.partition) for topic in task.stage.input_topics} & self._paused
        on = {place for place in places if not task.is_full(place, half=True)}
        self._paused -= on
        self.ready |= on

    async def stop(self) -> None:
        """Finish: commit what is done and close every task."""
        self.stopping = True
        self.ready.clear()
        self._paused.clear()
        await self._cancel_openings()
        await asyncio.gather(*(task.suspend(self._budget_s) for task in self.tasks.values()))
        await asyncio.gather(*(self._drop(task_id, reason="stop") for task_id in list(self.tasks)))

    @property
    def running(self) -> frozenset[TaskId]:
        """Tasks that are open, for the assignor's stickiness."""
        return frozenset(task_id for task_id, task in self.tasks.items() if task.state is not TaskState.CLOSED)
