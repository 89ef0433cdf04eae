"""The alert table: what the log says about alerts, silences and the rules that were given, as a fold over its events.

               raised (more severe: the same id again)
    (nothing) ─────────────────────► OPEN ── cleared ──► CLEARED (the last 1,000 are kept)
                                       │
                                  acknowledged: stays open, nobody else is told

An event that is no move changes nothing, so each may come twice. Which states a notifier was told stands in the row;
what it must be told is `alerts/routing.py`'s business. Times are ms.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from streamflow.bus.event_types import EventType, models
from streamflow.model.severity import SEVERITIES, is_worse

#: Alerts that may be open; those beyond it are counted as `left_out`.
OPEN_MAX = 10_000
#: Alerts that are over and remembered, and silences. Ends that are still to be told: up to OPEN_MAX, for six hours.
CLEARED_MAX = 1_000
_TELL_MS = 6 * 3_600_000
SILENCES_MAX = 1_000
ACKNOWLEDGED, CLEARED = "acknowledged", "cleared"
_TYPES = frozenset(
    {
        EventType.ALERT_RAISED,
        EventType.ALERT_CLEARED,
        EventType.ALERT_ACKNOWLEDGED,
        EventType.ALERT_SILENCED,
        EventType.ALERT_NOTIFIED,
        EventType.ALERT_RULES_CHANGED,
    }
)


@dataclass(slots=True)
class Alert:
    """A breach of a rule, from its begin to its end. node: the alert node that saw it, empty: a rule over metrics.

    states: what can be told of it, in order: `raised:SEVERITY`, `acknowledged`, `cleared`. told: by notifier, the
    states that it has taken.
    """

    alert: str
    rule: str
    topology: str
    node: str
    labels: dict[str, str]
    severity: str
    value: float | None
    threshold: float | None
    summary: str
    route: str
    since: int
    raised: int
    cleared: int | None = None
    acknowledged: int | None = None
    by: str = ""
    comment: str = ""
    reason: str = ""
    states: list[str] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.cleared is None

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


@dataclass(slots=True)
class Silence:
    """Who wants not to be told of what, from when until when."""

    silence: str
    rule: str
    labels: dict[str, str]
    begin: int
    until: int
    by: str
    comment: str

    def covers(self, alert: Alert, at_ms: int) -> bool:
        """Whether an alert is not to be told at a time."""
        return (
            self.begin <= at_ms < self.until
            and fnmatchcase(alert.rule, self.rule)
            and all(alert.labels.get(name) == value for name, value in self.labels.items())
        )


class AlertTable:
    """Alerts by id, oldest first; silences by id; rules as they were given over HTTP."""

    def __init__(self) -> None:
        self.open: dict[str, Alert] = {}
        self.cleared: dict[str, Alert] = {}
        self.silences: dict[str, Silence] = {}
        self.rules: dict[str, dict[str, Any]] = {}
        self.left_out = 0

    def fold(self, event: Mapping[str, Any]) -> None:
        """Take an event in, as `plain_event` gives it. Raises KeyError, TypeError, ValueError for what is not ours."""
        kind = event["type"]
        if kind not in _TYPES:
            return
        # Others may write to the topic, and what does not fit would be met again in every round. What a newer
        # version says more is no harm.
        model = models()[kind][1]
        known = {name: value for name, value in event["data"].items() if name in model.model_fields}
        data, at_ms = model.model_validate(known).model_dump(mode="json"), _ms(event["time"])
        match kind:
            case EventType.ALERT_RAISED if data.get("alert"):
                self._raise(str(event["subject"]), data, at_ms)
            case EventType.ALERT_CLEARED if data.get("alert"):
                self._clear(data, at_ms)
            case EventType.ALERT_ACKNOWLEDGED:
                alert = self.open.get(data["alert"])
                if alert is not None and alert.acknowledged is None:
                    alert.acknowledged, alert.by = at_ms, str(event.get("actor", ""))
                    alert.comment = data.get("comment", "")
                    alert.states.append(ACKNOWLEDGED)
            case EventType.ALERT_SILENCED:
                self._silence(data, at_ms, str(event.get("actor", "")))
            case EventType.ALERT_NOTIFIED:
                for name, state in data["alerts"]:
                    alert = self.find(name)
                    if alert is not None and state not in alert.told.setdefault(data["notifier"], []):
                        alert.told[data["notifier"]].append(state)
                self._forget(at_ms)
            case EventType.ALERT_RULES_CHANGED:
                self.rules = dict(data["rules"])

    def _raise(self, subject: str, data: Mapping[str, Any], at_ms: int) -> None:
        name, severity = data["alert"], data.get("severity", "warning")
        alert = self.open.get(name)
        if alert is None:
            if name in self.cleared:
                return
            if len(self.open) >= OPEN_MAX:
                self.left_out += 1
                return
            since = data.get("since")
            alert = self.open[name] = Alert(
                name,
                data["rule"],
                *subject.partition("/")[::2],
                dict(data.get("labels", {})),
                severity,
                None,
                data.get("threshold"),
                data.get("summary", ""),
                data.get("route", "default"),
                at_ms if since is None else since,
                at_ms,
            )
        elif not is_worse(severity, alert.severity):
            return
        alert.severity, alert.value = severity, data.get("value")
        alert.states.append(f"raised:{severity}")

    def _clear(self, data: Mapping[str, Any], at_ms: int) -> None:
        alert = self.open.pop(data["alert"], None)
        if alert is None:
            return
        alert.cleared, alert.reason = at_ms, data.get("reason", "")
        alert.states.append(CLEARED)
        self.cleared[alert.alert] = alert
        self._forget(at_ms)

    def _forget(self, at_ms: int) -> None:
        """Let the oldest that are over go; not yet where somebody who heard of its begin has not heard of its end."""
        while len(self.cleared) > CLEARED_MAX:
            oldest = next(iter(self.cleared.values()))
            waits = any(CLEARED not in told for told in oldest.told.values())
            if waits and at_ms - (oldest.cleared or 0) < _TELL_MS and len(self.cleared) <= OPEN_MAX:
                return
            del self.cleared[oldest.alert]

    def _silence(self, data: Mapping[str, Any], at_ms: int, actor: str) -> None:
        before = self.silences.get(data["silence"])
        begin = at_ms if before is None else before.begin
        self.silences[data["silence"]] = Silence(
            data["silence"],
            data.get("rule", "*"),
            dict(data.get("labels", {})),
            begin,
            data["until"],
            actor,
            data.get("comment", ""),
        )
        if len(self.silences) > SILENCES_MAX:
            del self.silences[min(self.silences.values(), key=lambda each: (each.until, each.silence)).silence]

    def find(self, name: str) -> Alert | None:
        """An alert, open or not."""
        return self.open.get(name) or self.cleared.get(name)

    @property
    def counts(self) -> dict[str, int]:
        """Open alerts by severity."""
        found = Counter(alert.severity for alert in self.open.values())
        return {severity: found[severity] for severity in SEVERITIES}

    def is_silenced(self, alert: Alert, at_ms: int) -> bool:
        """Whether it is not to be told at a time."""
        return any(silence.covers(alert, at_ms) for silence in self.silences.values())

    def plain(self) -> dict[str, Any]:
        """As JSON types; empty when nothing was ever said of alerts."""
        if not (self.open or self.cleared or self.silences or self.rules or self.left_out):
            return {}
        return {
            "open": {name: alert.plain() for name, alert in self.open.items()},
            "cleared": {name: alert.plain() for name, alert in self.cleared.items()},
            "silences": {name: asdict(silence) for name, silence in self.silences.items()},
            "rules": self.rules,
            "left_out": self.left_out,
        }


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1_000)
