"""Who has to be told what now: a function of the alert table, the routes and the time. Nothing is queued.

    an alert's states:   raised:warning  raised:critical  acknowledged  cleared
    a notifier was told:       ✓                                                  → raised:critical is next

- The first tier is told when `group_wait` is over, so that what goes wrong together comes together; a further tier
  when the alert was open and not acknowledged for its `after`.
- What is silenced is not raised to anybody; when the silence ends and it is still open, it is.
- Whoever was told that it was raised is told how it ends. What ended unheard (its notifier was dead) is told for six
  hours, first that it was raised; not what was silenced when it ended, nor what a further tier was never asked about.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from streamflow.alerts.message import Message, message_of
from streamflow.alerts.rules import LOOK_BACK_MAX_MS, Strict
from streamflow.bus.alert_table import ACKNOWLEDGED, CLEARED, Alert, AlertTable
from streamflow.model.severity import AlertSeverity, is_worse
from streamflow.nodes.kind import DurationMs

#: How long something that is over is still told to who did not hear that it began.
TOLD_LATE_MS = 6 * 3_600_000
_RAISED = "raised"
_Wait = Annotated[DurationMs, Field(ge=0, le=LOOK_BACK_MAX_MS)]


class Tier(Strict):
    """Notifiers that are told together."""

    to: list[str] = Field(min_length=1, max_length=20)
    after: _Wait = 0
    severity: AlertSeverity = Field("info", description="least severity that it is told of")


class Route(Strict):
    """Who is told, and later who else. group_by: what alerts of one message share: rule, topology, or a label."""

    tiers: list[Tier] = Field(min_length=1, max_length=5)
    group_by: list[str] = Field(default_factory=lambda: ["rule"], max_length=10)
    group_wait: _Wait = 10_000


def due(table: AlertTable, routes: Mapping[str, Route], now_ms: int) -> dict[str, Message]:
    """The next message of each notifier that has one: the oldest group first."""
    groups: dict[str, tuple[tuple[str, ...], dict[str, tuple[Alert, list[str]]]]] = {}
    for alert in sorted([*table.cleared.values(), *table.open.values()], key=lambda each: (each.raised, each.alert)):
        route = routes.get(alert.route) or routes.get("default")
        if route is None:
            continue
        for tier, notifier in _asked(route):
            states = _untold(alert, notifier, tier, route.group_wait, table, now_ms)
            if not states:
                continue
            place = (alert.route, states[-1].partition(":")[0], *_group(alert, route.group_by))
            known, found = groups.setdefault(notifier, (place, {}))
            if known == place:
                found[alert.alert] = alert, states
    return {name: message_of(place[1], list(found.values())) for name, (place, found) in groups.items()}


def _asked(route: Route) -> Iterator[tuple[Tier, str]]:
    for tier in route.tiers:
        for notifier in tier.to:
            yield tier, notifier


def _group(alert: Alert, names: list[str]) -> Iterator[str]:
    for name in names:
        match name:
            case "rule":
                yield alert.rule
            case "topology":
                yield alert.topology
            case _:
                yield alert.labels.get(name, "")


def _untold(alert: Alert, notifier: str, tier: Tier, group_wait_ms: int, table: AlertTable, now_ms: int) -> list[str]:
    """States that the notifier is to be told with its next message; all of them `raised` ones, or a single other."""
    told = alert.told.get(notifier, ())
    waiting = [state for state in alert.states if state not in told]
    raised = [state for state in waiting if state.startswith(_RAISED)]
    if raised:
        may = _may_raise(alert, tier, group_wait_ms, table, now_ms, heard=bool(told))
        return raised if may else []
    return waiting[:1] if told and waiting and waiting[0] in (ACKNOWLEDGED, CLEARED) else []


def _may_raise(alert: Alert, tier: Tier, group_wait_ms: int, table: AlertTable, now_ms: int, *, heard: bool) -> bool:
    if is_worse(tier.severity, alert.severity):
        return False
    if table.is_silenced(alert, now_ms if alert.cleared is None else alert.cleared):
        return False
    if now_ms < alert.raised + group_wait_ms:
        return False
    if alert.cleared is not None and now_ms > alert.cleared + TOLD_LATE_MS:
        return False
    if heard or not tier.after:
        return True
    ends = [each for each in (now_ms, alert.acknowledged, alert.cleared) if each is not None]
    return min(ends) >= alert.raised + tier.after
