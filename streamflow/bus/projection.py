"""The status table: what the log says about each topology and node, as a fold over its events.

It has no store of its own: whoever has the log can make it anew, to the same bytes. Events of one subject are in one
partition, so the order of partitions does not matter.

    "flights"          version, digest, deployed (time of the first worker with it), state, alerts
    "flights/hourly"   dead_letters by reason, redriven, discarded, late, alerts

Beside them stand the alerts themselves (`alert_table.py`).
"""

from typing import Any

import orjson

from streamflow.bus.alert_table import AlertTable
from streamflow.bus.event_types import EventType

#: Topologies and nodes; events of further ones are counted as `left_out`.
ROWS_MAX = 10_000
_COUNTS = {
    EventType.DEAD_LETTER_REDRIVEN: "redriven",
    EventType.DEAD_LETTER_DISCARDED: "discarded",
    EventType.LATE_DROPPED: "late",
}


class StatusTable:
    """Rows by subject."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._left_out = 0
        self.alerts = AlertTable()

    def add(self, event: dict[str, Any]) -> None:
        """Fold an event, as `plain_event` gives it, in."""
        if not event:
            return
        try:
            self.alerts.fold(event)
            self._fold(str(event["subject"]), event, event["data"])
        except (KeyError, TypeError, ValueError, AttributeError):  # somebody else's
            self._left_out += 1

    def _fold(self, subject: str, event: dict[str, Any], data: dict[str, Any]) -> None:
        match event["type"]:
            case EventType.TOPOLOGY_DEPLOYED:
                row = self._row(subject)
                if row.get("digest") != data["digest"]:
                    row.update(version=data["version"], digest=data["digest"], deployed=event["time"])
            case EventType.TOPOLOGY_STATE_CHANGED:
                self._row(subject)["state"] = data["new"]
            case EventType.DEAD_LETTER_ADDED:
                letters = self._row(subject).setdefault("dead_letters", {})
                letters[data["reason"]] = letters.get(data["reason"], 0) + data["count"]
            case EventType.DEAD_LETTER_REDRIVEN | EventType.DEAD_LETTER_DISCARDED | EventType.LATE_DROPPED:
                row, name = self._row(subject), _COUNTS[event["type"]]
                row[name] = row.get(name, 0) + data["count"]
            case EventType.ALERT_RAISED | EventType.ALERT_CLEARED:
                is_open = event["type"] == EventType.ALERT_RAISED
                alert = self._row(subject).setdefault("alerts", {}).setdefault(data["rule"], {"raised": 0})
                alert["raised"] += is_open
                alert["is_open"] = is_open

    def _row(self, subject: str) -> dict[str, Any]:
        if subject not in self._rows and len(self._rows) >= ROWS_MAX:
            self._left_out += 1
            return {}
        return self._rows.setdefault(subject, {})

    def encode(self) -> bytes:
        """The table as JSON, the same bytes for the same events."""
        alerts = self.alerts.plain()
        more = {"alerts": alerts} if alerts else {}
        return orjson.dumps({"rows": self._rows, "left_out": self._left_out, **more}, option=orjson.OPT_SORT_KEYS)
