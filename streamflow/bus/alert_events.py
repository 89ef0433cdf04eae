"""Data of what happens to alerts. All of them have one `partitionkey`, so that one order of them is in the log."""

from typing import Any, Literal

from pydantic import Field

from streamflow.bus.event_types import EventData, EventType, Severity, data_of
from streamflow.model.severity import AlertSeverity

#: `partitionkey` of every ALERT_* event.
ALERTS_KEY = "alerts"

#: What the severity of an alert is as that of an event.
EVENT_SEVERITY = {"info": Severity.INFO, "warning": Severity.WARNING, "critical": Severity.ERROR}


@data_of(EventType.ALERT_RAISED)
class AlertRaised(EventData):
    """A rule holds for long enough; again with the same id when it became more severe. Times in ms."""

    alert: str = Field("", description="id of this one breach")
    rule: str
    value: float | None = None
    threshold: float | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    severity: AlertSeverity = "warning"
    since: int | None = Field(None, description="when it began to hold")
    route: str = Field("default", description="route of the notifications")
    summary: str = Field("", max_length=500)


@data_of(EventType.ALERT_CLEARED)
class AlertCleared(EventData):
    """A rule that was raised holds no more."""

    alert: str = ""
    rule: str
    labels: dict[str, str] = Field(default_factory=dict)
    value: float | None = None
    reason: str = Field("", max_length=500)


@data_of(EventType.ALERT_ACKNOWLEDGED)
class AlertAcknowledged(EventData):
    """Somebody (`actor`) has seen an alert: nobody else is told of it."""

    alert: str
    comment: str = Field("", max_length=2_000)


@data_of(EventType.ALERT_SILENCED)
class AlertSilenced(EventData):
    """Alerts that match are not told until a time (ms); the same id with an earlier time takes it back."""

    silence: str
    rule: str = Field("*", description="pattern of rules")
    labels: dict[str, str] = Field(default_factory=dict, description="labels that an alert must have")
    until: int
    comment: str = Field("", max_length=2_000)


@data_of(EventType.ALERT_NOTIFIED)
class AlertNotified(EventData):
    """A notifier has taken a message, or will never take it (`refused`)."""

    notifier: str
    alerts: list[tuple[str, str]] = Field(description="(alert, state) that it was told")
    outcome: Literal["sent", "refused"] = "sent"
    message: str = Field("", max_length=500)


@data_of(EventType.ALERT_RULES_CHANGED)
class AlertRulesChanged(EventData):
    """The rules that were given over HTTP are these now, all of them."""

    rules: dict[str, dict[str, Any]]
