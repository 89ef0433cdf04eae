"""The node of the watch topology: what a device said last, and an alarm that every reading moves away."""

from collections.abc import Iterator
from statistics import median

from streamflow.kit import List, Process, Row, Time, Timer, Value


class Reading(Row):
    """What the node needs of a row; the input may have more."""

    time: Time
    celsius: float


class Notice(Row):
    """What the node gives."""

    device: str
    what: str
    time: Time
    celsius: float | None = None


class Watch(Process):
    """Tells when a device falls silent, speaks again, or jumps away from its last readings."""

    last = List(float, max_entries=5, full="drop_oldest", ttl="1d")
    silent_since = Value(int)

    def __init__(self, silent_after_minutes: int = 10, jump: float = 5.0) -> None:
        self._silent_after_ms = silent_after_minutes * 60_000
        self._jump = jump

    def process(self, row: Reading) -> Iterator[Notice]:
        """A reading of the device `self.key`."""
        if self.silent_since.get() is not None:
            self.silent_since.clear()
            yield Notice(self.key, "speaks again", row.time, row.celsius)
        if len(self.last) == 5 and abs(row.celsius - median(self.last)) > self._jump:
            yield Notice(self.key, "jumped", row.time, row.celsius)
        self.last.append(row.celsius)
        # A reading that comes late does not bring the alarm nearer.
        alarm = max(row.time + self._silent_after_ms, self.timers.get("silence") or 0)
        self.timers.set(alarm, "silence")

    def on_timer(self, timer: Timer) -> Iterator[Notice]:
        """No reading came for long enough."""
        self.silent_since.set(timer.time_ms - self._silent_after_ms)
        yield Notice(self.key, "silent", timer.time_ms)
