"""Samples of the kit, small enough to read and good enough to run."""

from collections.abc import Iterator

from streamflow.kit.process import Process
from streamflow.kit.rows import Row, Time
from streamflow.kit.states import Value
from streamflow.kit.timers import Timer


class Reading(Row):
    """What the samples need of a row."""

    time: Time
    sensor: str
    value: float


class Silent(Row):
    """A sensor that has said nothing since a time."""

    sensor: str
    since: Time


class Silence(Process):
    """Tells, once, when the sensor of a key has said nothing for some minutes of event time."""

    last = Value(int)

    def __init__(self, minutes: int = 10) -> None:
        self._limit_ms = minutes * 60_000

    def process(self, row: Reading) -> None:
        """Move the alarm away from the latest reading."""
        last = max(row.time, self.last.get() or row.time)
        self.last.set(last)
        self.timers.set(last + self._limit_ms, "silence")

    def on_timer(self, timer: Timer) -> Iterator[Silent]:
        """Nothing came for long enough."""
        yield Silent(str(self.key), timer.time_ms - self._limit_ms)
        self.last.clear()


class Fahrenheit(Row):
    """A reading in degrees Fahrenheit."""

    sensor: str
    degrees: float


def in_fahrenheit(row: Reading) -> Fahrenheit | None:
    """Readings below absolute zero are dropped."""
    return Fahrenheit(row.sensor, row.value * 1.8 + 32) if row.value >= -273.15 else None
