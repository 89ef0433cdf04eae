"""Orders over HTTP, joined to the worker that has the control topic."""

from typing import Any

from streamflow.bus.control import Wish
from streamflow.bus.states import State
from streamflow.runtime.worker import Worker


class WorkerControls:
    """Implements `web.ports.Controls` over a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._topic = worker, worker.control_topic

    @property
    def state(self) -> State:
        """Of the topology; where it is to run, whether this worker has its tasks yet."""
        control = self._topic.control
        if control.order.wish is Wish.RUN and not self._worker.is_ready:
            return State.QUEUED if self._worker.host.assigned else State.PENDING
        return control.state

    def standing(self) -> dict[str, Any]:
        """State, order, and who has not obeyed it."""
        order = self._topic.control.order
        return {
            "state": self.state,
            "wish": order.wish,
            "version": order.version,
            "run": order.run,
            "actor": order.actor,
            "reason": order.reason,
            "at": order.at_ms or None,
            "waiting_for": [f"{stage}/{partition}" for stage, partition in self._topic.control.waiting_for()],
        }

    async def order(self, wish: Wish, actor: str, reason: str, version: int | None) -> int:
        """Give an order; the version that holds then."""
        return (await self._topic.order(wish, actor, reason, version)).version

    async def cancel_execution(self, execution: bytes, actor: str, reason: str) -> None:
        """Cancel one execution."""
        await self._topic.cancel(execution, actor, reason)

    async def obeyed(self, version: int, timeout_s: float) -> bool:
        """Wait until all have obeyed."""
        return await self._topic.obeyed(version, timeout_s)
