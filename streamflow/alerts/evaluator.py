"""Judges all rules at a moment: which alerts are raised, which became more severe, which are over.

    holds ──for──► raised ──holds no more──► cleared ──cooldown──► may be raised again

One breach is one alert, with an id of its own. What is open comes from the alert table; since when a rule holds is
remembered here, and found again in the history after a takeover.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from streamflow.alerts.conditions import Reading, holding
from streamflow.alerts.rules import Rule
from streamflow.alerts.series import COARSE_MS, FINE_MS, History, Labels
from streamflow.bus.alert_events import EVENT_SEVERITY
from streamflow.bus.alert_table import Alert, AlertTable
from streamflow.bus.event_types import EventType, Severity
from streamflow.model.severity import is_worse

#: Metrics that the summary needs besides those of rules, and how far back it looks.
SUMMARY_METRICS = (
    "response_time_ms",
    "memory_usage_percent",
    "cpu_usage_percent",
    "error_rate_percent",
    "active_workflows",
    "queue_size",
    "throughput_per_second",
)
SUMMARY_MS = 1_800_000

_Key = tuple[str, Labels]


@dataclass(frozen=True, slots=True)
class Move:
    """An event to say."""

    kind: EventType
    subject: str
    data: dict[str, Any]
    severity: Severity


class Evaluator:
    """Rules over a history. namespace: subject of alerts that are about no topology."""

    def __init__(self, rules: Mapping[str, Rule], namespace: str, interval_ms: int) -> None:
        self._rules = {name: rule for name, rule in rules.items() if rule.enabled}
        self._namespace, self._interval_ms = namespace, interval_ms
        #: A worker that was late with three samples is gone.
        self._stale_ms = 3 * interval_ms
        metrics = {metric for rule in self._rules.values() for metric in rule.metrics}
        look_back_ms = max([SUMMARY_MS, *(rule.look_back_ms for rule in self._rules.values())])
        self.history = History(metrics | set(SUMMARY_METRICS), look_back_ms + self._stale_ms)
        self._since: dict[_Key, int] = {}

    def warm(self, now_ms: int) -> None:
        """Find out since when rules hold, from the history, before the first evaluation: backwards, while one does."""
        for name, rule in self._rules.items():
            standing: set[Labels] | None = None
            back_ms = self._interval_ms
            while back_ms <= rule.for_ and standing != set():
                coarse_ms = 0 if back_ms + self._stale_ms < FINE_MS else COARSE_MS  # there points are that far apart
                found = holding(rule, self.history, now_ms - back_ms, self._stale_ms + coarse_ms)
                standing = found.keys() & standing if standing is not None else set(found)
                self._since |= {(name, labels): now_ms - back_ms for labels in standing}
                back_ms += max(self._interval_ms, coarse_ms)

    def _hold(self, name: str, rule: Rule, now_ms: int) -> dict[Labels, Reading]:
        """Groups for which it holds; since when is remembered."""
        found = holding(rule, self.history, now_ms, self._stale_ms)
        for key in [key for key in self._since if key[0] == name and key[1] not in found]:
            del self._since[key]
        for labels in found:
            self._since.setdefault((name, labels), now_ms)
        return found

    def evaluate(self, table: AlertTable, now_ms: int) -> list[Move]:
        """What has changed. The table is not touched: it follows from the events."""
        self.history.forget(now_ms)
        is_open = {_key(alert): alert for alert in table.open.values() if not alert.node}
        over = {_key(alert): alert.cleared or 0 for alert in table.cleared.values() if not alert.node}
        moves: list[Move] = []
        for name, rule in self._rules.items():
            found = self._hold(name, rule, now_ms)
            for labels, reading in found.items():
                key, alert = (name, labels), is_open.get((name, labels))
                if alert is not None:
                    if is_worse(reading.severity, alert.severity):
                        moves.append(self._raised(name, rule, labels, reading, alert.since, alert.alert))
                elif self._since[key] <= now_ms - rule.for_ and over.get(key, -rule.cooldown) <= now_ms - rule.cooldown:
                    moves.append(self._raised(name, rule, labels, reading, self._since[key], _new_id(key, now_ms)))
            moves += self._cleared(name, found, is_open)
        return [*moves, *self._orphans(is_open)]

    def _cleared(self, name: str, found: Mapping[Labels, Reading], is_open: Mapping[_Key, Alert]) -> Iterator[Move]:
        for (rule, labels), alert in is_open.items():
            if rule == name and labels not in found:
                yield _clear(alert, "it holds no more")

    def _orphans(self, is_open: Mapping[_Key, Alert]) -> Iterator[Move]:
        for (rule, _), alert in is_open.items():
            if rule not in self._rules:
                yield _clear(alert, "there is no such rule any more")

    def _raised(self, name: str, rule: Rule, labels: Labels, reading: Reading, since_ms: int, alert: str) -> Move:
        plain = dict(labels)
        data = {
            "alert": alert,
            "rule": name,
            "value": _number(reading.value),
            "threshold": reading.limit,
            "labels": plain,
            "severity": reading.severity,
            "since": since_ms,
            "route": rule.route,
            "summary": rule.summary,
        }
        subject = plain.get("topology", self._namespace)
        return Move(EventType.ALERT_RAISED, subject, data, EVENT_SEVERITY[reading.severity])


def _clear(alert: Alert, reason: str) -> Move:
    data = {"alert": alert.alert, "rule": alert.rule, "labels": alert.labels, "reason": reason}
    return Move(EventType.ALERT_CLEARED, alert.topology, data, Severity.INFO)


def _key(alert: Alert) -> _Key:
    return alert.rule, tuple(sorted(alert.labels.items()))


def _new_id(key: _Key, now_ms: int) -> str:
    return f"{key[0]}-{sha256(repr((key, now_ms)).encode()).hexdigest()[:16]}"


def _number(value: float | None) -> float | None:
    return None if value is None or value - value != 0.0 else value
