"""Publishes the events of sources with a timer: each partition's by the worker whose task reads that partition.

    task runs, has come to the end of its topic ──► moments behind its highest event time ──► due: one batch
              ▲                                                                                    │
              └── taken away, paused, or the publish failed: nothing is known any more ◄───────────┘

One loop for all of them. The topic is what everybody goes on from, so nothing else has to survive; see
docs/decisions/0067-polling-sources.md.
"""

import asyncio
import logging
from collections.abc import Iterator

import orjson

from streamflow.clock.clock import SystemClock
from streamflow.engine.moments import Moments
from streamflow.errors import BrokerUnavailable
from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import EntryKind, TimerPlan
from streamflow.runtime.hooks.ending import end
from streamflow.runtime.hosted_task import HostedTask, TaskState
from streamflow.runtime.publisher import Publisher
from streamflow.runtime.worker import Worker
from streamflow.state.keys import key_bytes

log = logging.getLogger(__name__)

#: Between two looks at who owns what, seconds, and after a publish that failed.
_LOOK_S, _FAILED_S = 0.2, 1.0
#: Events of one publish.
_BATCH = 1_000

Place = tuple[str, int]


class Timers:
    """A companion of a worker. counts: by node what this worker has `published`, and what was `missed`."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._clock = worker, SystemClock()
        self._plans = {timer.topic: timer for timer in worker.plan.timers}
        self.counts = {timer.node: {"published": 0, "missed": 0} for timer in worker.plan.timers}
        self._publisher = Publisher(worker.settings)
        self._moments: dict[Place, Moments] = {}
        #: What follows the last event that was published here; the end that fetching knows may be from before it.
        self._ends: dict[Place, int] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. Raises BrokerUnavailable."""
        await self._publisher.start()
        self._loop = asyncio.create_task(self._run(), name="timers")

    async def stop(self) -> None:
        """End; what is on its way is sent."""
        await end(self._loop)
        await self._publisher.stop()

    async def _run(self) -> None:
        try:
            while True:
                wait_s = await self._step()
                await asyncio.sleep(wait_s)
        except Exception as error:
            self._worker.fail(error)
            raise

    async def _step(self) -> float:
        """Publish what is due; gives how long to wait, seconds."""
        owned = dict(self._owned())
        self._moments = {place: moments for place, moments in self._moments.items() if place in owned}
        now_ms = self._clock.wall_ms()
        for place, task in owned.items():
            has_read = task.read_position(place) >= self._ends.get(place, 0)
            if place not in self._moments and has_read and self._worker.has_caught_up(task, place):
                self._moments[place] = self._begun(place, task, now_ms)
        for place, moments in list(self._moments.items()):
            try:
                await self._publish(place, moments, now_ms)
            except BrokerUnavailable as error:
                log.warning("events of a timer are late: %s", error)
                del self._moments[place]
                return _FAILED_S
        due_ms = [each.next_ms for each in self._moments.values() if each.next_ms is not None]
        return max(0.0, min(_LOOK_S, (min(due_ms, default=now_ms + 1_000) - self._clock.wall_ms()) / 1_000))

    def _owned(self) -> Iterator[tuple[Place, HostedTask]]:
        for task in self._worker.host.tasks.values():
            if task.state is TaskState.RUNNING and not task.is_held:  # one that drains reads its sources no more
                for entry in task.stage.entries:
                    if entry.topic in self._plans and entry.kind is EntryKind.SOURCE:
                        yield (entry.topic, task.partition), task

    def _begun(self, place: Place, task: HostedTask, now_ms: int) -> Moments:
        plan = self._plans[place[0]]
        last_ms = next(each.high_ms for each in task.task.standing().entries if each.topic == plan.topic)
        made = Moments(plan.every_ms, len(plan.rows), plan.makes_up)
        made.begin((number for number in range(len(plan.rows)) if self._is_at(plan, number, place)), now_ms, last_ms)
        self.counts[plan.node]["missed"] += made.missed
        return made

    def _is_at(self, plan: TimerPlan, number: int, place: Place) -> bool:
        key, count = _key(plan, number), self._worker.partition_counts[plan.topic]
        return (number % count if key is None else partition_of(key, count)) == place[1]

    async def _publish(self, place: Place, moments: Moments, now_ms: int) -> None:
        plan, counts = self._plans[place[0]], self.counts[self._plans[place[0]].node]
        missed = moments.missed
        found = moments.take(now_ms, _BATCH)
        counts["missed"] += moments.missed - missed
        if found:
            records = [
                (_key(plan, number), orjson.dumps({**plan.rows[number], plan.time: moment})) for moment, number in found
            ]
            ends = await self._publisher.publish(plan.topic, records, partition=place[1])
            self._ends[place] = ends[place[1]]
            counts["published"] += len(found)


def _key(plan: TimerPlan, number: int) -> bytes | None:
    return None if plan.key is None else key_bytes(plan.rows[number][plan.key])
