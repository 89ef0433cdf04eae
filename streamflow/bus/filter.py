"""Which events somebody wants: by type, topology, node, key, severity and time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamflow.bus.event import rfc3339
from streamflow.bus.event_types import Severity

_RANKS = {severity.value: severity.rank for severity in Severity}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Events that match all that is given; nothing given matches all.

    types: any of them. severity: at least. since, until: times of events, until not included.
    """

    types: frozenset[str] = frozenset()
    topology: str = ""
    node: str = ""
    key: str = ""
    severity: Severity = Severity.DEBUG
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, as decoded from JSON, matches."""
        topology, _, node = str(event.get("subject", "")).partition("/")
        time = str(event.get("time", ""))
        return (
            (not self.types or event.get("type") in self.types)
            and (not self.topology or topology == self.topology)
            and (not self.node or node == self.node)
            and (not self.key or event.get("partitionkey") == self.key)
            and _RANKS.get(str(event.get("severity")), Severity.INFO.rank) >= self.severity.rank
            and (self.since is None or time >= rfc3339(self.since))  # all are written alike: UTC, milliseconds
            and (self.until is None or time < rfc3339(self.until))
        )
