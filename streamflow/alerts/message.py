"""What a notifier is told: alerts that changed alike, as one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from streamflow.bus.alert_table import Alert
from streamflow.model.printable import printable
from streamflow.model.severity import SEVERITIES

#: Alerts of one message; further ones come in the next.
ALERTS_MAX = 100
#: Alerts that a text for people names.
_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Message:
    """state: raised, acknowledged or cleared. marks: (alert, state) that are told once it is taken."""

    state: str
    alerts: tuple[Alert, ...]
    marks: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The same for the same alerts and states, in every attempt and from every worker."""
        return sha256(repr(sorted(self.marks)).encode()).hexdigest()[:32]

    @property
    def severity(self) -> str:
        """The worst."""
        return max((each.severity for each in self.alerts), key=list[str](SEVERITIES).index)

    @property
    def title(self) -> str:
        """One line."""
        rules = ", ".join(dict.fromkeys(alert.rule for alert in self.alerts))
        count = f"{len(self.alerts)} alerts: " if len(self.alerts) > 1 else ""
        return printable(f"[{self.severity} {self.state}] {count}{rules}")

    @property
    def lines(self) -> list[str]:
        """One line per alert, at most ten."""
        said = [line_of(alert) for alert in self.alerts[:_SHOWN_MAX]]
        left = len(self.alerts) - _SHOWN_MAX
        return [*said, f"and {left} more"] if left > 0 else said

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        states: dict[str, str] = dict(self.marks)  # the last state of each alert
        alerts = [{**shown(alert), "state": states[alert.alert]} for alert in self.alerts]
        return {"id": self.id, "state": self.state, "severity": self.severity, "title": self.title, "alerts": alerts}


def line_of(alert: Alert) -> str:
    """An alert in words, on one line: labels may be keys of rows, which strangers have chosen."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    about = f"{alert.topology} {alert.rule}" + (f" {{{labels}}}" if labels else "")
    beyond = "" if alert.value is None else f": {alert.value:g}"
    beyond += "" if alert.threshold is None else f" (limit {alert.threshold:g})"
    why = f" - {alert.summary}" if alert.summary else ""
    who = f", seen by {alert.by or 'somebody'}" if alert.acknowledged is not None else ""
    return printable(f"{about}{beyond}{why} since {moment(alert.since)}{who}")


def shown(alert: Alert) -> dict[str, Any]:
    """An alert as the API and webhooks show it."""
    return {name: value for name, value in alert.plain().items() if name not in ("told", "states")}


def moment(at_ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def message_of(state: str, found: Sequence[tuple[Alert, Sequence[str]]]) -> Message:
    """Of alerts with the states that they are told with it, oldest first."""
    chosen = found[:ALERTS_MAX]
    marks = tuple((alert.alert, state) for alert, states in chosen for state in states)
    return Message(state, tuple(alert for alert, _ in chosen), marks)
