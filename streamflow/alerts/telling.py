"""Sends messages: at most one under way per notifier, each under its policy, beside everything else.

What could not be sent stays untold and comes up again with the next round; while a notifier's circuit is open that
costs nothing. What will never be taken (a refusal) is said once and not tried again.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from streamflow.alerts.evaluator import Move
from streamflow.alerts.message import Message
from streamflow.alerts.notifiers import Notifier
from streamflow.bus.event_types import EventType, Severity
from streamflow.calls.caller import Answer, Origin, Outside
from streamflow.calls.guarded import GuardedCaller, WorkerLacks
from streamflow.errors import CallFailed, ErrorClass

log = logging.getLogger(__name__)

_LATER = (ErrorClass.TRANSIENT, ErrorClass.SYSTEM)
#: Messages come from no record.
_NOWHERE = Origin("alerts", "", 0, 0, 0, 0)


class Telling:
    """The notifiers of one worker, open. namespace: subject of what is said about them."""

    def __init__(self, notifiers: Mapping[str, Notifier], outside: Outside, namespace: str) -> None:
        self._guarded = {name: GuardedCaller(each.make(name, outside), each.policy) for name, each in notifiers.items()}
        self._namespace = namespace
        self._sending: dict[str, asyncio.Task[Answer]] = {}
        self._messages: dict[str, Message] = {}
        self._said: set[str] = set()
        #: Alerts that were taken or refused, messages that failed.
        self.counts = {"sent": 0, "failed": 0, "refused": 0}

    async def open(self) -> None:
        """Connect. Raises TopologyError for a secret that is not there."""
        for guarded in self._guarded.values():
            await guarded.caller.open()

    async def close(self) -> None:
        """Give up what is under way, which whoever comes next sends again, and disconnect."""
        self.give_up()
        for guarded in self._guarded.values():
            await guarded.caller.close()

    def give_up(self) -> None:
        """Another worker tells from now on."""
        for task in self._sending.values():
            task.cancel()
        self._sending.clear()
        self._messages.clear()

    def begin(self, messages: Mapping[str, Message]) -> None:
        """Send to every notifier that has nothing under way."""
        for name, message in messages.items():
            if name in self._guarded and name not in self._sending:
                self._messages[name] = message
                self._sending[name] = asyncio.create_task(self._guarded[name].answer(message, _NOWHERE), name=name)

    def take(self) -> list[Move]:
        """What was taken or refused meanwhile; the notifier has its next message when that is in the log."""
        moves = []
        for name in [name for name, task in self._sending.items() if task.done()]:
            task, message = self._sending.pop(name), self._messages.pop(name)
            error = _error_of(task)
            if error is None:
                self.counts["sent"] += len(message.alerts)
                self._said.discard(name)
                moves.append(self._told(name, message, "sent", ""))
            elif error.error_class in _LATER:
                self.counts["failed"] += 1
                if name not in self._said:  # once, not every round
                    self._said.add(name)
                    log.warning("notifier %s is not told at the moment: %s", name, error)
            else:
                self.counts["refused"] += len(message.alerts)
                log.error("notifier %s does not take %s: %s", name, message.title, error)
                moves.append(self._told(name, message, "refused", str(error)[:500]))
        return moves

    def _told(self, name: str, message: Message, outcome: str, said: str) -> Move:
        data = {"notifier": name, "alerts": list(message.marks), "outcome": outcome, "message": said}
        severity = Severity.ERROR if outcome == "refused" else Severity.INFO
        return Move(EventType.ALERT_NOTIFIED, self._namespace, data, severity)

    def view(self) -> dict[str, dict[str, Any]]:
        """Calls by notifier, as nodes show theirs."""
        return {name: guarded.view() for name, guarded in self._guarded.items()}


def _error_of(task: "asyncio.Task[Answer]") -> CallFailed | None:
    """Why a message was not taken; a fault of this worker may be over later."""
    try:
        error = task.result().error
    except WorkerLacks as lacks:
        return CallFailed("system", str(lacks), ErrorClass.SYSTEM)
    assert error is None or isinstance(error, CallFailed)
    return error
