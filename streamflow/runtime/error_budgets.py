"""Pauses a topology when a node of this worker makes more dead letters than its error budget allows.

    counters of the tasks ── once a second ──► window of the last `per` ── more than allowed ──► order: pause

Counts begin anew with the worker, and when the topology goes on after a pause: whoever resumes it has looked.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from streamflow.bus.control import Control, Order, Wish
from streamflow.engine.counters import NodeCounts
from streamflow.engine.task import Task
from streamflow.errors import BrokerUnavailable, IllegalMove
from streamflow.model.durations import format_duration
from streamflow.plan.plan import ErrorBudget

log = logging.getLogger(__name__)

#: Who orders the pause.
ACTOR = "error budget"
_LOOK_S = 1.0
#: Parts of `per` that leave the window one after the other.
_PARTS = 60


class BudgetWindow:
    """Rows and dead letters of one node within the last `per`, on one worker. Times in seconds."""

    def __init__(self, budget: ErrorBudget) -> None:
        self.budget = budget
        self._parts: deque[tuple[float, int, int]] = deque()
        self.rows = self.dead = 0

    def add(self, now_s: float, rows: int, dead: int) -> str:
        """What came since the last call; gives why the budget is used up, "" while it is not."""
        per_s = self.budget.per_ms / 1_000
        if self._parts and now_s - self._parts[-1][0] < per_s / _PARTS:
            began, rows_before, dead_before = self._parts.pop()
            self._parts.append((began, rows_before + rows, dead_before + dead))
        else:
            self._parts.append((now_s, rows, dead))
        self.rows += rows
        self.dead += dead
        while now_s - self._parts[0][0] > per_s:
            _, gone, gone_dead = self._parts.popleft()
            self.rows -= gone
            self.dead -= gone_dead
        return self._overdrawn()

    def _overdrawn(self) -> str:
        budget = self.budget
        within = format_duration(budget.per_ms)
        said = f"node {budget.node} made {self.dead} dead letters of {self.rows} rows within {within}"
        if budget.failures is not None and self.dead > budget.failures:
            return f"{said}, {budget.failures} are allowed"
        share = 100 * self.dead / max(1, self.rows)
        if budget.percent is not None and self.rows >= budget.at_least and share > budget.percent:
            return f"{said}, {budget.percent:g} % are allowed"
        return ""

    def clear(self) -> None:
        """Begin anew."""
        self._parts.clear()
        self.rows = self.dead = 0


class OpenTask(Protocol):
    """Of a HostedTask what is needed here."""

    @property
    def is_open(self) -> bool: ...

    @property
    def task(self) -> Task: ...


class Orders(Protocol):
    """Of a ControlTopic what is needed here."""

    @property
    def control(self) -> Control: ...

    async def order(self, wish: Wish, actor: str, reason: str) -> Order: ...


class ErrorBudgets:
    """Of one worker. `tasks`: those that it has now; one is counted from when it is seen first."""

    def __init__(self, budgets: Iterable[ErrorBudget], tasks: Callable[[], Iterable[OpenTask]], topic: Orders) -> None:
        self.windows = [BudgetWindow(budget) for budget in budgets]
        self._tasks, self._topic = tasks, topic
        self._order = topic.control.order
        self._over: dict[str, str] = {}
        self._seen: WeakKeyDictionary[Task, dict[str, tuple[int, int]]] = WeakKeyDictionary()

    async def run(self) -> None:
        """Look once a second, for as long as the worker lives."""
        while True:
            await asyncio.sleep(_LOOK_S)
            why = self.look(asyncio.get_running_loop().time())
            if why:
                await self._pause(why)

    def look(self, now_s: float) -> str:
        """Count what came; gives why the topology is to be paused, "" when it is not, or is held already."""
        came = self._came()
        before, self._order = self._order, self._topic.control.order
        was_resumed = before.wish is Wish.RUN and self._order.version != before.version  # since the last look
        if self._order.wish is not Wish.RUN or was_resumed:
            for window in self.windows:
                window.clear()
            return ""
        found = {window.budget.node: window.add(now_s, *came[window.budget.node]) for window in self.windows}
        self._over = {"node": ", ".join(node for node, why in found.items() if why)}
        return "; ".join(filter(None, found.values()))

    def _came(self) -> dict[str, tuple[int, int]]:
        """(rows, dead letters) of each node since the last call. Several stages may know a node: it is one."""
        rows: dict[str, dict[str, int]] = {window.budget.node: {} for window in self.windows}
        dead = dict.fromkeys(rows, 0)
        for hosted in self._tasks():
            if not hosted.is_open:
                continue
            task = hosted.task
            counts, seen, stage = task.counters.by_node(), self._seen.setdefault(task, {}), task.stage.name
            for node in rows:
                now = _of_node(counts, node)
                before = seen.get(node, now)
                seen[node] = now
                rows[node][stage] = rows[node].get(stage, 0) + now[0] - before[0]
                dead[node] += now[1] - before[1]
        return {node: (max(stages.values(), default=0), dead[node]) for node, stages in rows.items()}

    async def _pause(self, why: str) -> None:
        reason = f"{why}; look at them (`streamflow dlq`), mend the cause, then resume"
        try:
            await self._topic.order(Wish.PAUSE, ACTOR, reason)
            log.error("paused: %s", reason, extra=self._over)
        except (IllegalMove, BrokerUnavailable) as error:  # asked again in a second, if it still must be
            log.warning("the topology should be paused, as %s: %s", why, error, extra=self._over)


def _of_node(counts: dict[str, NodeCounts], node: str) -> tuple[int, int]:
    """(rows in, dead letters) of a node and its parts, which are named `node.part`."""
    mine = [each for name, each in counts.items() if name == node or name.startswith(f"{node}.")]
    return max((each.rows_in for each in mine), default=0), sum(each.dead for each in mine)
