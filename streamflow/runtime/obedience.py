"""Lets the tasks of a worker do what was ordered, whatever happens to them meanwhile: rebalance, restore, restart.

    order            fetched                        the task                                its word
    run              all inputs                     runs                                    –
    pause, cancel    nothing                        is paused, what it did is committed     at once
    stop             what other tasks write for it  runs until that is read, then as above  when its inputs are at their
                                                                                            end for good

The end of a repartition topic is final when every task of the stage that writes it has given its word; then its end is
asked for, uncommitted records included, and the task goes on until it is there. So a stop goes through the stages in
their order, and nothing that was taken in is left between two of them.

While a task is paused nothing judges whether its inputs are idle, its clock timers wait, and it goes on as if it had
just been opened (Task.reopened): being paused is no silence.
"""

import asyncio

from streamflow.bus.control import Order, Wish
from streamflow.plan.plan import EntryKind
from streamflow.runtime.control_topic import ControlTopic
from streamflow.runtime.hosted_task import HostedTask, TaskState
from streamflow.runtime.task_host import TaskHost

#: Between two looks while something is held: whether inputs have ended, and how far they have grown.
_LOOK_S = 0.2
_LAG_S = 1.0

Place = tuple[str, int]


class Obedience:
    """Of one worker. `held_ends`: ends of inputs that are not fetched, so that their lag is known, by place."""

    def __init__(self, topic: ControlTopic, host: TaskHost) -> None:
        self.held_ends: dict[Place, int] = {}
        self._topic, self._host = topic, host
        self._final_version, self._final = -1, dict[Place, int]()
        self._changed = asyncio.Event()
        topic.listeners.append(self._changed.set)

    async def run(self) -> None:
        """Make all tasks obey whenever something has changed, and look after those that are stopping."""
        looked = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(None if self._order.wish is Wish.RUN else _LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                pass  # time to look
            self._changed.clear()
            await asyncio.gather(*(self.settle(task) for task in list(self._host.tasks.values())))
            if self._order.wish is Wish.RUN:
                self.held_ends.clear()
            elif loop.time() - looked > _LAG_S:
                looked = loop.time()
                await self._look_at_ends()

    @property
    def _order(self) -> Order:
        return self._topic.control.order

    async def admit(self, task: HostedTask) -> None:
        """A task has just been opened or given back: let it do what is ordered by now."""
        await self._topic.caught_up()
        await self.settle(task, fresh=True)

    async def settle(self, task: HostedTask, *, fresh: bool = False) -> None:
        """Bring one task to what is ordered; returns early when it is taken away meanwhile.

        fresh: nothing of it is fetched yet.
        """
        async with task.obeying:
            order = self._order
            if not fresh and task.state not in (TaskState.RUNNING, TaskState.PAUSED):
                return
            if order.wish is Wish.RUN:
                if fresh or task.is_held:
                    await self._host.let_run(task)
            elif order.wish is Wish.STOP and not await self._has_ended(task, order):
                self._host.hold(task, _sources(task))
                if fresh or task.state is TaskState.PAUSED:
                    await self._host.let_run(task, _repartitioned(task))
                task.drain()
            elif not (task.state is TaskState.PAUSED and self._has_obeyed(task)):
                self._host.hold(task, task.stage.input_topics)
                is_settled = await task.pause()
                if is_settled and self._order == order and not self._has_obeyed(task):
                    await self._topic.obey(task.stage.name, task.partition, order.version, task.version)

    def _has_obeyed(self, task: HostedTask) -> bool:
        return self._topic.control.has_obeyed(task.stage.name, task.partition)

    async def _has_ended(self, task: HostedTask, order: Order) -> bool:
        """Whether nothing will come any more from the stages before, and all that came is read."""
        waiting = self._topic.control.waiting_for
        entries = [entry for entry in task.stage.entries if entry.kind is EntryKind.REPARTITION]
        if any(waiting(entry.producer_stage) for entry in entries):
            return False
        places = [(entry.topic, task.partition) for entry in entries]
        if self._final_version != order.version:
            self._final_version, self._final = order.version, {}
        unknown = [place for place in places if place not in self._final]
        if unknown:
            # An end of a transaction may not be written yet, so what cannot be read so far counts too.
            self._final |= await self._topic.ends(unknown, committed=False)
        return all(task.read_position(place) >= self._final[place] for place in places)

    async def _look_at_ends(self) -> None:
        held = [place for task in self._host.tasks.values() for place in task.committed_positions]
        held = [place for place in held if place not in self._host.ready]
        self.held_ends = await self._topic.ends(held) if held else {}


def _sources(task: HostedTask) -> tuple[str, ...]:
    """What comes from outside: sources and decisions."""
    return tuple(entry.topic for entry in task.stage.entries if entry.kind is not EntryKind.REPARTITION)


def _repartitioned(task: HostedTask) -> tuple[str, ...]:
    return tuple(entry.topic for entry in task.stage.entries if entry.kind is EntryKind.REPARTITION)
