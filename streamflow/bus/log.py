"""The port that everything emits through, and the bounded queue behind it.

Emitting never waits and never fails for lack of room: an event that finds the queue full is counted by its type, said
in the log at once, and on the bus itself as EVENTS_LOST as soon as there is room. Nothing is lost silently.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, Protocol

from streamflow.bus.event import BusEvent, new_event
from streamflow.bus.event_types import EventData, EventType, Severity, checked
from streamflow.bus.masking import masked

log = logging.getLogger(__name__)

#: Events that wait to be sent: a few MB, minutes of a process's own events without Kafka.
QUEUE_MAX_EVENTS = 10_000

Position = tuple[str, int, int]


class EventLog(Protocol):
    """Takes events. Safe to call from any thread."""

    def emit(
        self,
        kind: EventType,
        subject: str,
        data: EventData | Mapping[str, Any],
        *,
        severity: Severity = Severity.INFO,
        actor: str = "",
        causation: str = "",
        correlation: str = "",
        position: Position | None = None,
        key: str = "",
    ) -> str:
        """Say that something happened; gives the event's id, empty when it could not be taken.

        subject: topology, or topology/node. position: (topic, partition, offset) of the record it is about. key: what
        stays in order, such as an execution's id; the subject when left out. Secrets in data are masked. Raises
        InternalError when the data is not of its type.
        """


class NoEvents:
    """Takes nothing, where events are off."""

    def emit(self, kind: EventType, subject: str, data: EventData | Mapping[str, Any], **_attributes: Any) -> str:
        """Forget it."""
        return ""


NO_EVENTS: EventLog = NoEvents()


class QueuedEvents:
    """An EventLog whose events wait here for whoever sends them. `wake` is called, from any thread, when one comes.

    secret_fields: names that are masked in data, besides those that say so themselves.
    """

    def __init__(
        self,
        source: str,
        actor: str = "",
        max_events: int = QUEUE_MAX_EVENTS,
        wake: Callable[[], None] = lambda: None,
        secret_fields: frozenset[str] = frozenset(),
    ) -> None:
        self._secret_fields = secret_fields
        self._source, self._actor, self._max, self._wake = source, actor, max_events, wake
        self._queue: deque[BusEvent] = deque()
        self._lost: Counter[str] = Counter()
        self._lock = Lock()
        self.lost_count = 0

    def emit(
        self,
        kind: EventType,
        subject: str,
        data: EventData | Mapping[str, Any],
        *,
        severity: Severity = Severity.INFO,
        actor: str = "",
        causation: str = "",
        correlation: str = "",
        position: Position | None = None,
        key: str = "",
    ) -> str:
        """See EventLog."""
        schema, body = checked(kind, data)
        event = new_event(
            self._source,
            kind,
            subject,
            schema,
            masked(body, self._secret_fields),
            severity=severity,
            actor=actor or self._actor,
            causationid=causation,
            correlationid=correlation,
            partitionkey=key or subject,
            position="" if position is None else "/".join(map(str, position)),
        )
        with self._lock:
            if len(self._queue) >= self._max:
                self._lost[kind.value] += 1
                self.lost_count += 1
                first = self._lost.total() == 1
            else:
                self._queue.append(event)
                first = None
        if first is None:
            self._wake()
            return event.id
        if first:
            log.error("the queue of events is full (%s): events are lost and counted until there is room", self._max)
        return ""

    def take(self, count: int) -> list[BusEvent]:
        """The oldest events, at most so many; what was lost meanwhile follows them as one EVENTS_LOST."""
        with self._lock:
            taken = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            lost, self._lost = self._lost, Counter()
        if lost:
            schema, body = checked(EventType.EVENTS_LOST, {"counts": dict(lost)})
            hole = new_event(self._source, EventType.EVENTS_LOST, "", schema, body, severity=Severity.ERROR)
            taken.append(hole.model_copy(update={"actor": self._actor, "partitionkey": self._source}))
        return taken

    def lose(self, events: Iterable[BusEvent]) -> None:
        """Count events that were taken and cannot be sent as lost."""
        with self._lock:
            for event in events:
                counts = event.data["counts"] if event.type == EventType.EVENTS_LOST else {event.type: 1}
                self._lost.update(counts)
                self.lost_count += event.type != EventType.EVENTS_LOST

    @property
    def waiting_count(self) -> int:
        """Events that wait."""
        return len(self._queue)
