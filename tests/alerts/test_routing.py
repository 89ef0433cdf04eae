"""Who is told what, and when: the table made of events, and the next messages at a time."""

import json
from datetime import UTC, datetime
from typing import Any

from streamflow.alerts.routing import Route, due
from streamflow.bus.alert_table import AlertTable
from streamflow.bus.event import rfc3339
from streamflow.bus.projection import StatusTable

_ROUTES = {
    "default": Route.model_validate(
        {
            "group_wait": "10s",
            "tiers": [{"to": ["chat"]}, {"to": ["pager"], "after": "15m", "severity": "warning"}],
        }
    )
}
_MINUTE = 60


class Log:
    """Events, and the table that they make."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.table = AlertTable()

    def say(self, second: int, kind: str, actor: str = "", **data: Any) -> None:
        time = rfc3339(datetime.fromtimestamp(second, UTC))
        event = {"type": kind, "subject": "t", "time": time, "actor": actor, "data": data}
        self.events.append(event)
        self.table.fold(event)

    def raised(self, second: int, name: str, severity: str = "warning", rule: str = "lag", **labels: str) -> None:
        self.say(second, "ALERT_RAISED", alert=name, rule=rule, severity=severity, labels=labels)

    def due(self, second: int) -> dict[str, tuple[str, list[str]]]:
        return {
            name: (message.state, [alert.alert for alert in message.alerts])
            for name, message in due(self.table, _ROUTES, second * 1_000).items()
        }

    def tell(self, second: int) -> dict[str, tuple[str, list[str]]]:
        """Every notifier takes what is due."""
        found = self.due(second)
        for name, message in due(self.table, _ROUTES, second * 1_000).items():
            self.say(second, "ALERT_NOTIFIED", notifier=name, alerts=list(message.marks))
        return found


def test_what_goes_wrong_together_comes_together_and_each_state_once() -> None:
    log = Log()
    log.raised(0, "a")
    log.raised(5, "b", "critical")
    log.raised(6, "c", rule="errors")
    assert log.due(9) == {}
    assert log.tell(16) == {"chat": ("raised", ["a", "b"])}
    assert log.tell(17) == {"chat": ("raised", ["c"])}
    assert log.tell(18) == {}
    log.raised(20, "a", "critical")
    log.say(30, "ALERT_CLEARED", alert="b", rule="lag")
    assert log.tell(31) == {"chat": ("raised", ["a"])}
    assert log.tell(32) == {"chat": ("cleared", ["b"])}
    assert log.tell(33) == {}


def test_nobody_reacts_so_the_next_tier_is_told_and_hears_the_end() -> None:
    log = Log()
    log.raised(0, "a")
    log.raised(0, "seen", rule="errors")
    log.raised(0, "mild", "info", rule="mild")
    for second in (10, 11, 12):
        log.tell(second)
    log.say(60, "ALERT_ACKNOWLEDGED", "ann", alert="seen")
    assert log.tell(61) == {"chat": ("acknowledged", ["seen"])}
    assert log.due(15 * _MINUTE - 1) == {}
    assert log.tell(15 * _MINUTE) == {"pager": ("raised", ["a"])}
    assert log.tell(15 * _MINUTE + 1) == {}
    log.say(20 * _MINUTE, "ALERT_CLEARED", alert="a", rule="lag")
    log.say(20 * _MINUTE, "ALERT_CLEARED", alert="seen", rule="errors")
    assert log.tell(20 * _MINUTE) == {"chat": ("cleared", ["a"]), "pager": ("cleared", ["a"])}
    assert log.tell(20 * _MINUTE) == {"chat": ("cleared", ["seen"])}
    assert log.due(60 * _MINUTE) == {}


def test_silence_holds_back_what_begins_and_not_what_ends() -> None:
    log = Log()
    log.raised(0, "told", topology="t")
    log.tell(10)
    log.say(20, "ALERT_SILENCED", "ann", silence="s", rule="la*", labels={"topology": "t"}, until=300_000)
    log.raised(30, "still", topology="t")
    log.raised(30, "over", topology="t")
    log.raised(30, "other", topology="u")
    assert log.tell(50) == {"chat": ("raised", ["other"])}
    log.say(60, "ALERT_CLEARED", alert="told", rule="lag")
    log.say(60, "ALERT_CLEARED", alert="over", rule="lag")
    assert log.tell(60) == {"chat": ("cleared", ["told"])}
    assert log.due(299) == {}
    assert log.tell(300) == {"chat": ("raised", ["still"])}
    log.raised(400, "late", topology="t")
    log.say(401, "ALERT_SILENCED", "ann", silence="t", rule="lag", until=9_000_000)
    assert log.due(420) == {}
    log.say(430, "ALERT_SILENCED", "ann", silence="t", rule="lag", until=0)
    assert log.due(430) == {"chat": ("raised", ["late"])}


def test_what_ended_unheard_is_told_from_its_begin_for_some_hours() -> None:
    log = Log()
    log.raised(0, "a")
    log.say(5, "ALERT_CLEARED", alert="a", rule="lag")
    assert log.due(7 * 3_600) == {}
    assert log.tell(3_600) == {"chat": ("raised", ["a"])}
    assert log.tell(3_600) == {"chat": ("cleared", ["a"])}


def test_events_that_come_twice_or_late_change_nothing_and_the_table_is_the_same_bytes() -> None:
    log = Log()
    log.raised(0, "a")
    log.say(1, "ALERT_ACKNOWLEDGED", "ann", alert="a", comment="mine")
    log.say(2, "ALERT_CLEARED", alert="a", rule="lag")
    log.say(3, "ALERT_RULES_CHANGED", "ann", rules={"r": {"metric": "m", "above": 1}})
    once, twice = StatusTable(), StatusTable()
    for event in log.events:
        once.add(event)
        twice.add(event)
        twice.add(event)
    twice.alerts.fold(log.events[0])
    twice.alerts.fold({**log.events[1], "actor": "bob"})
    found = json.loads(once.encode())["alerts"]
    assert found == json.loads(twice.encode())["alerts"]
    assert found["cleared"]["a"]["states"] == ["raised:warning", "acknowledged", "cleared"]
    assert (found["cleared"]["a"]["by"], found["cleared"]["a"]["comment"]) == ("ann", "mine")
    assert found["rules"] == {"r": {"metric": "m", "above": 1}}
