"""PagerDuty, by its Events API v2 (https://developer.pagerduty.com/docs/events-api-v2/overview/).

One event per alert: trigger, acknowledge, resolve, with the alert's id as `dedup_key`, so that one that is sent again
changes nothing there.
"""

from typing import Any, Literal

import orjson
from pydantic import Field

from streamflow.alerts.message import Message, line_of, moment
from streamflow.alerts.notifiers.notifier import HttpNotifier, HttpNotifierCaller, Secret
from streamflow.bus.alert_table import Alert
from streamflow.calls.caller import Origin, Outside

_ACTIONS = {"raised": "trigger", "acknowledged": "acknowledge", "cleared": "resolve"}
_SUMMARY_MAX = 1_024


class PagerDuty(HttpNotifier):
    """Options of a PagerDuty service."""

    kind: Literal["pagerduty"]
    url: str = "https://events.pagerduty.com/v2/enqueue"
    routing_key: Secret = Field(min_length=1, description="integration key of the service, ${secret:name}")

    def make(self, name: str, outside: Outside) -> "PagerDutyCaller":
        """See Notifier."""
        return PagerDutyCaller(self, name, outside)


class PagerDutyCaller(HttpNotifierCaller):
    """Posts an event per alert."""

    def __init__(self, options: PagerDuty, name: str, outside: Outside) -> None:
        super().__init__(name, outside, options.url)
        self._options, self._key = options, ""
        #: What was taken of a message that was not taken whole, so that another attempt gets further.
        self._taken: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Read the key, too."""
        self._key = self.secret(self._options.routing_key, "routing_key")
        await super().open()

    async def call(self, row: Message, origin: Origin) -> bool:
        """One after the other; another attempt goes on where this one came to."""
        marks = set(row.marks)
        self._taken &= marks
        for alert in row.alerts:
            own = {mark for mark in marks if mark[0] == alert.alert}
            if not own <= self._taken:
                await self.post(orjson.dumps(event(self._key, row.state, alert)), {})
                self._taken |= own
        return True


def event(routing_key: str, state: str, alert: Alert) -> dict[str, Any]:
    """What PagerDuty is sent."""
    found: dict[str, Any] = {"routing_key": routing_key, "event_action": _ACTIONS[state], "dedup_key": alert.alert}
    if state != "raised":
        return found
    details = {"value": alert.value, "threshold": alert.threshold, **alert.labels}
    payload = {
        "summary": line_of(alert)[:_SUMMARY_MAX],
        "source": alert.topology,
        "severity": alert.severity,
        "timestamp": moment(alert.raised),
        "component": alert.node or alert.rule,
        "class": alert.rule,
        "custom_details": details,
    }
    return {**found, "payload": payload}
