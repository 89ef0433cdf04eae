"""Raises and clears alerts per key: the node class of `alert`.

    fine ──beyond──► since ──for──► open ──fine──► clear          silent: no row for so long ──► open ──a row──► clear

Rows are judged in the order of their arrival; how long something lasts is event time, by timers.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from streamflow.kit import Process, Row, Value
from streamflow.kit.timers import Timer
from streamflow.model.severity import is_worse, severity_of

_FOR, _SILENT = "for", "silent"

#: Says on the bus that an alert is raised (True) or over, in the transaction of the rows; the field that was judged.
SayAlert = Callable[[bool, str, dict[str, Any]], None]


class Watch(Process):
    """Judges `field` of each row of a key, or that there is none.

    given: class of the rows that it gives. key_name: of the key in them. options: those of nodes/alert.py. `say` is set
    by the engine where events are on.
    """

    #: That data ends is no silence, nor does it make anything last longer.
    fires_at_end = False
    #: Since when it is beyond, with what value and how bad; the id and severity of what is open.
    since = Value(int)
    reading = Value(list[Any])
    alert = Value(list[str])
    #: Alerts that a key had in the last day: ids of one millisecond differ.
    count = Value(int, ttl="1d")

    def __init__(
        self, name: str, field: str | None, given: type[Row], key_name: str, options: Mapping[str, Any]
    ) -> None:
        self._name, self._field, self._given, self._key_name, self._options = name, field, given, key_name, options
        self._limit = options["above"] if options["above"] is not None else options["below"]
        self.say: SayAlert | None = None

    def process(self, row: Any) -> Iterator[Any]:
        """Judge a row."""
        if self._field is None:
            return self._heard()
        value = getattr(row, self._field)
        if value is None:
            return iter(())
        beyond = value > self._limit if self._options["above"] is not None else value < self._limit
        return self._beyond(value) if beyond else self._fine(value)

    def on_timer(self, timer: Timer) -> Iterator[Any]:
        """It has lasted long enough."""
        if timer.name == _SILENT:
            self.since.set(timer.time_ms - self._options["silent"])
            self.reading.set([None, self._options["severity"] or "critical"])
        return self._open()

    def _heard(self) -> Iterator[Any]:
        silent_ms = self._options["silent"]
        self.timers.set(max(self.time_ms + silent_ms, self.timers.get(_SILENT) or 0), _SILENT)
        return self._fine(None)

    def _beyond(self, value: float) -> Iterator[Any]:
        options = self._options
        severity = options["severity"] or severity_of(value, self._limit, options["warning"], options["critical"])
        before, found = self.reading.get(), self.alert.get()
        if before is None or is_worse(severity, before[1]):
            self.reading.set([value, severity])
        if found is not None:
            return self._open() if is_worse(severity, found[1]) else iter(())
        if self.since.get() is None:
            self.since.set(self.time_ms)
            if self._options["for_"]:
                self.timers.set(self.time_ms + self._options["for_"], _FOR)
                return iter(())
            return self._open()
        return iter(())

    def _open(self) -> Iterator[Any]:
        """Raise it, or make it more severe."""
        (value, severity), found = self.reading.get() or [None, "info"], self.alert.get()
        if found is None:
            number = (self.count.get() or 0) + 1
            self.count.set(number)
            digest = blake2b(repr((self.key, self.since.get(), number)).encode(), digest_size=8).hexdigest()
            found = [f"{self._name}-{digest}", severity]
        self.alert.set([found[0], severity])
        return self._told(True, found[0], severity, value)

    def _fine(self, value: float | None) -> Iterator[Any]:
        found = self.alert.get()
        if found is None:
            if self.since.get() is not None:
                self._forget()
            return iter(())
        rows = self._told(False, found[0], found[1], value)
        self._forget()
        return rows

    def _forget(self) -> None:
        self.alert.clear()
        self.since.clear()
        self.reading.clear()
        self.timers.delete(_FOR)

    def _told(self, raised: bool, alert: str, severity: str, value: float | None) -> Iterator[Any]:
        limit = None if self._limit is None else float(self._limit)
        shown = None if value is None or value - value != 0.0 else float(value)
        since_ms = self.since.get() or 0
        row = self._given(
            self.key, alert, "raised" if raised else "cleared", severity, shown, limit, since_ms, self.time_ms
        )
        if self.say is not None:
            data = {"alert": alert, "rule": self._name, "labels": {self._key_name: str(self.key)}, "value": shown}
            more = {"threshold": limit, "severity": severity, "since": since_ms, **self._options["told"]}
            self.say(raised, self._field or "", data | (more if raised else {}))
        return iter((row,))
