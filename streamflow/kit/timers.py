"""Timers of the key at hand, by name. A name has one time: setting it again moves the timer.

    self.timers.set(row.time + 600_000, "silence")     event time: fires when the watermark passes it
    self.clock.set_after(30_000, "poll")               wall clock: fires 30 s from now

Event-time timers fire in the order of their times, exactly once, at a moment that is a function of the events alone.
Clock timers fire exactly once too, but between which events, and with which event time, depends on the moment.
"""

from dataclasses import dataclass

from streamflow.errors import EventError
from streamflow.kit.keystate import TIME_MAX, TIMERS_MAX, Current, stored_size

NAME_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that fires: its name, the time it was set for in ms, and whether that is wall clock."""

    name: str
    time_ms: int
    clock: bool = False


class Timers:
    """Event-time timers."""

    def __init__(self, current: Current) -> None:
        self._at = current

    def set(self, time_ms: int, name: str = "") -> None:
        """Fire at an event time. One that the watermark has passed fires when the call at hand is over.

        Raises EventError for a time out of range or, while a timer fires, not beyond it; and beyond 1,000 timers.
        """
        current = self._at
        timers = current.entered().timers
        _check_time(time_ms)
        if current.firing_ms is not None and time_ms <= current.firing_ms:
            message = f"a timer for {time_ms} was set while the one for {current.firing_ms} fires; set a later one"
            raise EventError("process", message)
        before = timers.get(name)
        if before is None:
            _make_room(current, name, len(timers))
            current.undo.append((timers.__delitem__, name))
        else:
            current.undo.append((timers.__setitem__, name, before))
        timers[name] = time_ms

    def delete(self, name: str = "") -> None:
        """Take a timer back if it is set."""
        current = self._at
        before = current.entered().timers.pop(name, None)
        if before is not None:
            current.undo.append((current.entered().timers.__setitem__, name, before))
            current.grow(-timer_size(name))

    def get(self, name: str = "") -> int | None:
        """The event time that a timer is set for, None when it is not set."""
        return self._at.entered().timers.get(name)


class ClockTimers:
    """Timers of the wall clock."""

    def __init__(self, current: Current) -> None:
        self._at = current

    @property
    def now_ms(self) -> int:
        """Wall clock of the task: when the chunk at hand was fetched, or the moment at which a clock timer fires."""
        return self._at.now()

    def set_after(self, delay_ms: int, name: str = "") -> None:
        """Fire a time from now, 1 ms at least. Raises EventError beyond 1,000 timers."""
        current = self._at
        clock = current.entered().clock
        _check_time(delay_ms)
        before = clock.get(name)
        if before is None:
            _make_room(current, name, len(clock))
            current.undo.append((clock.__delitem__, name))
        else:
            current.undo.append((clock.__setitem__, name, before))
        clock[name] = (current.now() + max(1, delay_ms), current.time_ms)

    def delete(self, name: str = "") -> None:
        """Take a timer back if it is set."""
        current = self._at
        before = current.entered().clock.pop(name, None)
        if before is not None:
            current.undo.append((current.entered().clock.__setitem__, name, before))
            current.grow(-timer_size(name))

    def get(self, name: str = "") -> int | None:
        """The wall clock that a timer is set for, None when it is not set."""
        found = self._at.entered().clock.get(name)
        return None if found is None else found[0]


def _check_time(time_ms: int) -> None:
    if time_ms.__class__ is not int or not -TIME_MAX <= time_ms <= TIME_MAX:
        raise EventError("process", f"{time_ms!r} is no time of a timer: an integer of milliseconds")


def _make_room(current: Current, name: str, count: int) -> None:
    if name.__class__ is not str or len(name) > NAME_MAX_CHARS:
        raise EventError("process", f"a timer's name is text of at most {NAME_MAX_CHARS} characters, not {name!r}")
    if count >= TIMERS_MAX:
        raise EventError("state_full", f"key {current.key!r} has {count} timers, no more are allowed")
    current.grow(timer_size(name))


def timer_size(name: str) -> int:
    """Bytes of a timer, never less than msgpack takes."""
    return stored_size(name) + 22
