"""The async nodes of a plan in this process: open once, shared by all tasks of their stages."""

import asyncio
from collections.abc import Mapping
from functools import partial

from streamflow.calls.caller import Outside
from streamflow.calls.guarded import GuardedCaller
from streamflow.engine.async_entry import AsyncEntry
from streamflow.engine.task import Task
from streamflow.engine.unordered_entry import UnorderedEntry
from streamflow.nodes.operators import Await
from streamflow.plan.plan import Plan, Stage


class AsyncNodes:
    """`guarded`: the calls of every async node by its name."""

    def __init__(self, plan: Plan, outside: Outside) -> None:
        self._owner, self._results = plan.identity, outside.results
        self.guarded: dict[str, GuardedCaller] = {}
        for node in (node for stage in plan.stages for node in stage.nodes):
            if isinstance(node.operator, Await):
                caller = node.operator.action.make(node.name, outside)
                self.guarded[node.name] = GuardedCaller(caller, node.operator.policy)

    async def open(self) -> None:
        """Connect what has to be, all together. When one fails, the others are closed.

        Raises TopologyError for what a node cannot do without.
        """
        results = self._results
        opening = (
            each.open(None if results is None else partial(results, name)) for name, each in self.guarded.items()
        )
        failed = [each for each in await asyncio.gather(*opening, return_exceptions=True) if each is not None]
        if failed:
            await self.close()
            raise failed[0]

    async def close(self) -> None:
        """Let go of everything, of the last node first."""
        for each in reversed(self.guarded.values()):
            await each.close()

    def entries(self, stage: Stage, task: Task) -> Mapping[str, AsyncEntry]:
        """The async entries of a task, by topic."""
        found: dict[str, AsyncEntry] = {}
        for node in stage.nodes:
            operator = node.operator
            if isinstance(operator, Await):
                guarded = self.guarded[node.name]
                made = AsyncEntry if operator.ordered else UnorderedEntry
                for number, entry in enumerate(stage.entries):
                    if entry.node == node.inputs[0]:
                        found[entry.topic] = made(task, number, node.name, guarded, operator, self._owner)
        return found
