"""The watchdog: tells idle from slow from stuck, and ends a worker that is stuck.

It runs on a thread of its own, because what it looks for includes an event loop that no longer turns (Faust's
heartbeats come from another thread, so the group would never notice).

    moved within the limit                          working
    nothing waits, the loop turns                   idle
    records wait, nothing moved for the limit       stuck
    the loop has not turned for the limit           stuck
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from streamflow.runtime.blocked import main_thread_is_at

log = logging.getLogger(__name__)

_TURN_S = 0.05
#: Silence of the loop after which it is told where it stands, seconds.
_SILENT_S = 2.0


class Verdict(StrEnum):
    """What the watchdog thinks of a worker."""

    WORKING = "working"
    IDLE = "idle"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One look at a worker; ages in seconds. `waiting`: a transaction is on its way or a restore runs."""

    loop_age_s: float
    moved_age_s: float
    waiting: bool


def judge(pulse: Pulse, limit_s: float) -> Verdict:
    """The table above."""
    if pulse.loop_age_s >= limit_s:
        return Verdict.STUCK
    if pulse.waiting and pulse.moved_age_s >= limit_s:
        return Verdict.STUCK
    return Verdict.WORKING if pulse.moved_age_s < limit_s else Verdict.IDLE


class Watchdog:
    """Looks every second; calls `bark` once with a sentence when the worker is stuck."""

    def __init__(self, limit_s: float, look: Callable[[], tuple[float, bool]], bark: Callable[[str], None]) -> None:
        self._limit_s, self._look, self._bark = limit_s, look, bark
        self._turned_at = time.monotonic()
        self._told = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look at the running loop."""
        self._turn(asyncio.get_running_loop())
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop turned. A timer of its own: what else runs on the loop may end before the watch does."""
        self._turned_at = time.monotonic()
        if not self._stopped.is_set():
            loop.call_later(_TURN_S, self._turn, loop)

    def pulse(self) -> Pulse:
        """How the worker is now."""
        moved_at, waiting = self._look()
        now = time.monotonic()
        return Pulse(now - self._turned_at, now - moved_at, waiting)

    def verdict(self) -> Verdict:
        """How the worker is now, in a word."""
        return judge(self.pulse(), self._limit_s)

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(1.0):
            now = time.monotonic()
            if now - before > self._limit_s / 2:
                self._turned_at += now - before  # the whole process stood still (SIGSTOP, suspended machine)
            before = now
            self._name_what_blocks(now)
            if self.verdict() is Verdict.STUCK:
                pulse = self.pulse()
                said = f"loop silent for {pulse.loop_age_s:.0f} s, no progress for {pulse.moved_age_s:.0f} s"
                self._bark(f"{said}; it is at {main_thread_is_at()}" if pulse.loop_age_s >= _SILENT_S else said)
                return

    def _name_what_blocks(self, now: float) -> None:
        """Whatever holds the loop up holds up every node, and HTTP; it is told once per silence."""
        if now - self._turned_at < _SILENT_S:
            self._told = False
        elif not self._told:
            self._told = True
            log.warning("the loop has stood still for %.0f s, at %s", now - self._turned_at, main_thread_is_at())
