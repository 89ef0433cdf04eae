"""A worker: one process that runs the tasks of one topology it is given by the group.

    topics checked → control topic and global tables read → Faust app with one agent per stage
                   → tasks as assigned, doing what is ordered → stop: commit, leave the group

Ends with exit code 0 after a stop, 70 after a failure that a restart may heal (the supervisor restarts), 78 when a
restart cannot help (a mismatch somebody has to look at).
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.log import NO_EVENTS, EventLog
from streamflow.bus.topics import data_path_bus
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.checkpoint.pacing import CHEAP_TURN_MS, TURN_MS, Pacing, Rolling, Turns
from streamflow.clock.clock import SystemClock
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.engine.delivering import Resources, target_of
from streamflow.engine.program import Program, compile_stage
from streamflow.engine.source_code import SourceCode
from streamflow.errors import Stalled, StreamflowError
from streamflow.logs.place import place_raised
from streamflow.plan.plan import Guarantee, Plan, Stage
from streamflow.runtime import faults
from streamflow.runtime.announcing import announcer_of
from streamflow.runtime.assignor import StageAssignor, TaskId
from streamflow.runtime.blocked import task_is_at
from streamflow.runtime.capabilities import capabilities_of, refuse_idleness
from streamflow.runtime.connection import denied
from streamflow.runtime.control_topic import ControlTopic
from streamflow.runtime.error_budgets import ErrorBudgets
from streamflow.runtime.event_log import KafkaEventLog
from streamflow.runtime.exit_codes import EXIT_FAILED, exit_code
from streamflow.runtime.global_tables import GlobalTables
from streamflow.runtime.hooks import group
from streamflow.runtime.hooks.faust_app import ChunkSchema, StageApp
from streamflow.runtime.hosted_task import HostedTask, TaskState
from streamflow.runtime.life import Life
from streamflow.runtime.models import models_of
from streamflow.runtime.obedience import Obedience
from streamflow.runtime.outside import outside_of
from streamflow.runtime.record_limits import RecordLimits
from streamflow.runtime.recovery import Recovery
from streamflow.runtime.shared_results import SharedResults
from streamflow.runtime.task_events import TaskEvents
from streamflow.runtime.task_host import TaskHost
from streamflow.runtime.topics import ensure_topics, record_limits
from streamflow.runtime.transaction import TaskProducer
from streamflow.runtime.watchdog import Watchdog
from streamflow.settings.settings import Settings
from streamflow.state.rocksdb import RocksMemory
from streamflow.topology.spec import TopologySpec

log = logging.getLogger(__name__)

_TICK_S = 0.05
#: How often errors of the group are looked for.
_GROUP_S = 0.5


class Companion(Protocol):
    """Something that lives beside the tasks: the HTTP server."""

    async def start(self) -> None:
        """Begin, before tasks are assigned."""

    async def stop(self) -> None:
        """End, after the tasks have stopped, together with the other companions."""


class Worker:
    """Runs a plan. `run` returns when it was asked to stop; failures end the process.

    ends: of a bounded run, per (topic, partition) of the sources the first offset that is not read. spec: what the plan
    was made of.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        url: str,
        spec: TopologySpec,
        ends: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.plan, self.settings = plan, settings
        self._ends = ends
        self.shared_results = SharedResults(plan, settings)
        kept = settings.state_dir / plan.identity / "results"
        self.calls = AsyncNodes(plan, outside_of(settings, kept, self.shared_results))
        self.url = url
        self._bus = None
        if settings.events_detail != "off":
            self._bus = KafkaEventLog(settings, url, secret_fields=spec.secret_fields)
        #: Where this process says what happens to it.
        self.events: EventLog = NO_EVENTS if self._bus is None else self._bus
        self._data_path_bus = data_path_bus(settings, url, spec.secret_fields)
        self._digest = spec.digest
        self._life = Life(settings.state_dir / plan.identity, settings, plan.version, spec.digest)
        self.assignor = StageAssignor(plan, url, has=capabilities_of(settings, plan))
        refuse_idleness(plan, self.assignor.has)
        self.global_tables = GlobalTables(plan, settings)
        self.control_topic = ControlTopic(plan, settings, url, self.events)
        self.models = models_of(plan, settings)
        self.partition_counts: dict[str, int] = {}
        self.record_limits = RecordLimits(lambda: record_limits(plan, settings))
        self.companions: list[Companion] = []
        self._programs: dict[str, Program] = {stage.name: compile_stage(stage, plan) for stage in plan.stages}
        self._stop = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._memory = RocksMemory.of(settings.rocksdb_cache_bytes, settings.rocksdb_write_buffer_bytes)
        self._group = f"{settings.application}.{plan.identity}"
        # One list of intervals for all tasks: Kafka's session must survive a revocation that uses its whole budget.
        budget_s = min(5.0, settings.session_timeout_ms / 3_000)
        recovery = Recovery(settings, self._group, settings.state_dir / plan.identity, self._memory, plan.guarantee)
        self.assignor.kept = recovery.kept
        inputs = {stage.name: stage.input_topics for stage in plan.stages}
        self.host = TaskHost(inputs, self._make_task, recovery, self._seek, self.fail, budget_s)
        self._turns = Turns(TURN_MS if plan.guarantee is Guarantee.EXACTLY_ONCE else CHEAP_TURN_MS)
        self.obedience = Obedience(self.control_topic, self.host)
        self.host.admit = self.obedience.admit
        self.host.events = TaskEvents(self.events, plan.topology, url)
        self.app = StageApp(plan, settings, self.assignor)
        self.app.host = _HostWithOwnership(self.host, self.assignor)
        self.watchdog = Watchdog(settings.stall_limit_ms / 1_000, self._look, self._bark)
        self._define_agents()

    def _define_agents(self) -> None:
        for stage in self.plan.stages:
            topic = self.app.topic(*stage.input_topics, schema=ChunkSchema(), acks=False)
            self.app.agent(topic, name=f"stage {stage.name}")(self._agent(stage.name))

    def _agent(self, stage: str) -> Callable[[Any], Awaitable[None]]:
        async def consume(stream: Any) -> None:
            try:
                async for event in stream.events():
                    await self.host.feed(stage, event.value)
            except Exception as error:
                # Faust would restart the agent and go on with the next event; ours must be read again.
                self.fail(error)
                raise

        return consume

    def _make_task(self, task_id: TaskId, host: TaskHost) -> HostedTask:
        name, partition = task_id
        stage = self.plan.stage(name)
        settings = self.settings
        transactional = self.plan.guarantee is Guarantee.EXACTLY_ONCE
        identity = f"sf.{settings.application}.{self.plan.identity}.{name}.{partition}"
        if faults.mistake() == "id_per_worker":
            identity = f"{identity}.{settings.instance_id or os.getpid()}"
        producer = TaskProducer(
            settings,
            self._group,
            identity if transactional else None,
            self.plan.dead_letter_topic,
            self._commit_offsets,
            self.record_limits,
            announcer_of(self._data_path_bus, self.partition_counts, self.plan, stage, partition),
        )
        pacing = _pacing(stage, settings)
        return HostedTask(
            stage,
            partition,
            self._programs[name],
            producer,
            pacing,
            self._turns,
            self.partition_counts,
            host.on_failure,
            host.on_commit,
            host.on_chunk,
            SystemClock(),
            self.global_tables.tables,
            self.calls,
            self._ends,
            self._data_path_bus,
            Resources(self.models, settings.files_dir, self.control_topic.cancelled),
        )

    async def _seek(self, positions: dict[tuple[str, int], int]) -> None:
        thread = self.app.consumer._thread
        await thread.seek_wait({TopicPartition(*place): offset for place, offset in positions.items()})

    async def _commit_offsets(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        # Straight onto the consumer's loop: Faust's queue of calls is taken by fetching most of the time.
        thread = self.app.consumer._thread
        commit = thread._ensure_consumer().commit(offsets)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(commit, thread.thread_loop))

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `request_stop`, SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        await self._unless_stopped(self._prepare())
        watchers: list[asyncio.Task[None]] = []
        if not self._stop.is_set():
            (self.settings.state_dir / "faust").mkdir(parents=True, exist_ok=True)  # Faust makes only the last folder
            self.watchdog.start()
            watchers.append(asyncio.create_task(self._or_fail(self._tick()), name="tick"))
            await self._unless_stopped(self._catch_up())
        if not self._stop.is_set():
            tune_collector()
            watchers.append(asyncio.create_task(self._or_fail(self.control_topic.follow()), name="control topic"))
            watchers.append(asyncio.create_task(self._or_fail(self.obedience.run()), name="obedience"))
            watchers.append(asyncio.create_task(self._or_fail(self.global_tables.follow()), name="global tables"))
            watchers.append(asyncio.create_task(self._or_fail(self.shared_results.run()), name="shared results"))
            watchers.append(asyncio.create_task(self._or_fail(self._watch_group()), name="group"))
            if self.plan.error_budgets:
                budgets = ErrorBudgets(self.plan.error_budgets, self.host.tasks.values, self.control_topic)
                watchers.append(asyncio.create_task(self._or_fail(budgets.run()), name="error budgets"))
            await self.app.start()
            log.info("worker of topology %s runs", self.plan.identity)
        await self._stop.wait()
        for watcher in watchers:
            watcher.cancel()
        self._ending = asyncio.create_task(self._or_fail(self._shut_down()), name="shut down")
        await self._ending

    async def _prepare(self) -> None:
        self.partition_counts.update(await ensure_topics(self.plan, self.settings))
        await self.record_limits.read()
        await self.calls.open()
        if self._bus is not None:
            await self._bus.start()
        self._say_started()
        for companion in self.companions:
            await companion.start()

    async def _catch_up(self) -> None:
        await self.control_topic.start(self.partition_counts)
        await self.global_tables.catch_up(self.partition_counts, self._stop)
        await self.shared_results.catch_up(self._stop)

    def _say_started(self) -> None:
        before, topology = self._life.begin(), self.plan.topology
        started = {"worker": self.url, "version": self.plan.version, "predecessor": before.ended}
        cause = self.events.emit(EventType.WORKER_STARTED, topology, started)
        if before.error:
            self.events.emit(EventType.ERROR_OCCURRED, topology, before.error, severity=Severity.ERROR, causation=cause)
        if self._digest != before.digest:
            deployed = {"worker": self.url, "version": self.plan.version, "digest": self._digest}
            deployed["previous_version"] = before.version
            self.events.emit(EventType.TOPOLOGY_DEPLOYED, topology, deployed, causation=cause)
        if before.changes:
            changed = {"worker": self.url, "changes": before.changes}
            self.events.emit(EventType.CONFIGURATION_CHANGED, topology, changed, causation=cause)

    async def _or_fail(self, work: Coroutine[Any, Any, None]) -> None:
        """End the worker when this fails."""
        try:
            await work
        except Exception as error:
            self.fail(error)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """End the worker when this fails; give it up when a stop is asked for: Kafka may be away for long."""
        doing = asyncio.create_task(self._or_fail(work), name="start")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
        for each in (doing, stopping):
            each.cancel()
        await asyncio.wait([doing, stopping])

    def request_stop(self) -> None:
        """Ask for a stop in order, which has its deadline from now on; a second time ends at once."""
        if self._stop.is_set():
            _exit(EXIT_FAILED)
        log.info("stopping")
        self._stop.set()
        deadline_s = self.settings.shutdown_deadline_ms / 1_000
        asyncio.get_running_loop().call_later(deadline_s, self._overdue, deadline_s)

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    async def _shut_down(self) -> None:
        await self.host.stop()
        await self.calls.close()
        await asyncio.gather(*(companion.stop() for companion in reversed(self.companions)))
        self.events.emit(EventType.WORKER_STOPPED, self.plan.topology, {"worker": self.url})
        rest = [self.global_tables.stop(), self.control_topic.stop(), self.shared_results.stop()]
        if self._bus is not None:
            rest.append(self._bus.stop())
        if self.app.started:
            rest.append(self.app.stop())
        await asyncio.gather(*rest)
        self.watchdog.stop()
        self._life.stopped()
        log.info("stopped")

    def _overdue(self, deadline_s: float) -> None:
        where = "its beginning" if self._ending is None else task_is_at(self._ending)
        log.error(
            "the stop took longer than %.0f s, it is at %s; ending now, what was not committed is done again",
            deadline_s,
            where,
        )
        _exit(EXIT_FAILED)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.host.tick(self._waits)

    async def _watch_group(self) -> None:
        while True:
            await asyncio.sleep(_GROUP_S)
            try:
                await group.check(self.app.consumer._thread, self._group, self.settings)
            except StreamflowError as error:
                self.fail(error)

    def _look(self) -> tuple[float, bool]:
        """When the task that is worst off moved last, and whether any has something to do (watchdog's thread)."""
        waiting = [task for task in list(self.host.tasks.values()) if task.is_committing or self._lags(task)]
        moved = [task.moved_at for task in waiting] or [time.monotonic()]
        return min(moved), bool(waiting)

    def _lags(self, task: HostedTask) -> bool:
        """Whether records are known that a running task has not come to."""
        if task.state is not TaskState.RUNNING:
            return False
        ready = [place for place in task.committed_positions if place in self.host.ready]
        return any(self._is_behind(task, place, self._readable_end(place)) for place in ready)

    def _readable_end(self, place: tuple[str, int]) -> int | None:
        """Where what may be read ends: behind it, somebody's transaction is open."""
        consumer = self.app.consumer._thread._ensure_consumer()
        end: int | None = consumer.last_stable_offset(TopicPartition(*place))
        return end

    def _waits(self, task: HostedTask, place: tuple[str, int]) -> bool:
        """Whether records of an input are known that a task has not come to, also ones that may not be read yet."""
        if place not in self.host.ready:
            return False
        return self._is_behind(task, place, self.app.consumer.highwater(TopicPartition(*place)))

    @staticmethod
    def _is_behind(task: HostedTask, place: tuple[str, int], end: int | None) -> bool:
        # The last offset may be a transaction's marker, which is never handed out.
        return (end or 0) - 1 > task.read_position(place)

    def has_caught_up(self, task: HostedTask, place: tuple[str, int]) -> bool:
        """Whether a task has come to the end of an input that is fetched, as far as that was ever known."""
        if place not in self.host.ready:
            return False
        end: int | None = self.app.consumer.highwater(TopicPartition(*place))
        return end is not None and task.read_position(place) >= end

    def _bark(self, what: str) -> None:
        self.fail(Stalled(f"the worker is stuck: {what}"))

    def fail(self, error: BaseException) -> None:
        """End the process at once: what is committed is the truth, a successor starts from it."""
        if self._stop.is_set() and isinstance(error, asyncio.CancelledError):
            return
        error = denied(error) or error
        code = exit_code(error)
        self._life.failed(error)
        trace = error if code == EXIT_FAILED else None
        said = "the worker ends: %s: %s"
        log.error(said, type(error).__name__, error, exc_info=trace, extra=place_raised(error.__traceback__))
        _exit(code)

    @property
    def sources(self) -> dict[str, SourceCode]:
        """Generated modules by stage."""
        return {name: program.source for name, program in self._programs.items()}

    def task(self, stage: str, partition: int) -> HostedTask | None:
        """An own task by stage and partition."""
        return self.host.tasks.get((stage, partition))

    @property
    def is_ready(self) -> bool:
        """Assigned, restored and serving."""
        serving = (TaskState.RUNNING, TaskState.PAUSED)
        return self.host.assigned and all(task.state in serving for task in self.host.tasks.values())

    def on_commit(self, listener: Callable[[HostedTask, Checkpoint, float], None]) -> None:
        """Be told of every checkpoint: (task, checkpoint, seconds it took)."""
        self.host.commits.append(listener)

    def on_chunk(self, listener: Callable[[HostedTask, int, float], None]) -> None:
        """Be told of every chunk: (task, records, seconds of work)."""
        self.host.chunks.append(listener)


class _HostWithOwnership:
    """The host as Faust's hooks see it; tells the assignor what is owned, for stickiness."""

    def __init__(self, host: TaskHost, assignor: StageAssignor) -> None:
        self._host, self._assignor = host, assignor
        self.ready = host.ready  # one set, changed in place

    async def on_revoked(self) -> None:
        await self._host.on_revoked()
        self._assignor.owned = self._host.running

    async def on_assigned(self, assigned: set[tuple[str, int]], generation: int) -> None:
        self._assignor.generation = generation
        scaled, self._assignor.scaled = self._assignor.scaled, None
        if scaled is not None:
            self._host.events.scaled(*scaled)
        await self._host.on_assigned(assigned, generation)

    def on_full(self, topic: str, partition: int) -> None:
        self._host.on_full(topic, partition)

    def fail(self, error: BaseException) -> None:
        self._host.fail(error)


def _pacing(stage: Stage, settings: Settings) -> Pacing:
    target = target_of(stage)
    if target is None:
        return Pacing(settings.commit_interval_ms, settings.pending_max_outputs, settings.pending_max_bytes)
    bound = min(target.roll_bytes, settings.pending_max_bytes)
    return Rolling(target.roll_ms, settings.pending_max_outputs, bound)


def tune_collector() -> None:
    """Rows and accumulators are invisible to the collector, so it has little to find: let it look seldom.

    Half of the time went into it with the defaults and 230,000 open windows. What start-up made stays, so nothing is
    looked for in it: collecting it first took 0.1 s of a start of 2 s, and gave 1 MB.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def _exit(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
