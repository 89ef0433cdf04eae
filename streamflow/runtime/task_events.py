"""What a worker says on the bus about its tasks."""

import time
from typing import TYPE_CHECKING

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.log import EventLog

if TYPE_CHECKING:
    from streamflow.runtime.hosted_task import HostedTask

#: Characters of an error's message that an event carries.
MESSAGE_MAX_CHARS = 2_000


class TaskEvents:
    """Emits about tasks of one topology on one worker."""

    def __init__(self, events: EventLog, topology: str, worker: str) -> None:
        self._events, self._topology, self._worker = events, topology, worker
        self._assigned: set[str] = set()

    def opened(self, task: "HostedTask") -> None:
        """A task was restored and works here."""
        self._assigned.add(task.name)
        place = self._place(task)
        took_ms = int((time.monotonic() - task.restore.started_at) * 1_000) if task.restore.started_at else 0
        self._events.emit(EventType.PARTITION_ASSIGNED, self._topology, place)
        restored = {**place, "records": task.restore.done, "took_ms": took_ms}
        self._events.emit(EventType.RESTORED, self._topology, restored)

    def closed(self, task: "HostedTask", reason: str) -> None:
        """A task works here no more; nothing is said of one that never did."""
        if task.name in self._assigned:
            self._assigned.discard(task.name)
            self._events.emit(EventType.PARTITION_REVOKED, self._topology, {**self._place(task), "reason": reason})

    def scaled(self, old: int, new: int) -> None:
        """The group has another number of workers."""
        self._events.emit(EventType.SCALED, self._topology, {"old": old, "new": new})

    def failed(self, task: "HostedTask", error: BaseException) -> None:
        """A checkpoint of a task failed."""
        said = {"error": type(error).__name__, "message": str(error)[:MESSAGE_MAX_CHARS]}
        data = {**self._place(task), **said}
        self._events.emit(EventType.CHECKPOINT_FAILED, self._topology, data, severity=Severity.ERROR)

    def _place(self, task: "HostedTask") -> dict[str, str | int]:
        return {"worker": self._worker, "stage": task.stage.name, "partition": task.partition}
