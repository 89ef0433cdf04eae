"""Keeps work for readers from slowing the data path: while that is busy, 32 parts rest follow one part work.

Busy: the system says that the loop ran or wanted to run most of the time, and tasks took a good part of that. So
readers get all they want of a core that would be idle, a thirty-third where a backlog is worked off, and their fair
share where it is requests that keep the loop busy: news that wait for a quiet moment would then wait for ever.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

#: Share of the time above which the loop counts as busy.
BUSY = 0.6
#: Share of the time that tasks work at least while they are behind; at 2,000 events/s it is a hundredth.
WORKED = 0.2
#: Rest per work while it is busy. Readers slow the data path by more than their share: they have a moment of plenty
#: until it is seen that it is busy, and their clients run on the cores, and through the caches, that it uses.
_REST = 32
#: However many read snapshots at once, nobody waits longer for a turn.
_REST_MAX_S = 2.0
#: How often the load is looked at; sending is worth so much at most, more is waiting for the client.
_LOOK_S = 0.1
_SEND_S = 0.001
#: Of a message, what nobody measures: its client's task and timers, the loop's turn, what the kernel does for it later.
#: Profiled: some 90 µs a message, of which the write to the socket is 45 and is measured.
_TURN_S = 0.000_05
#: Of the main thread, whose loop it is: nanoseconds that it ran, and that it waited for a core.
_SCHEDULED = Path("/proc/self/schedstat")


def _scheduled() -> Callable[[], tuple[float, float]]:
    """Tells the seconds that the loop ran, and those that it ran or wanted to; where the system does not say, both are
    those that the process ran."""
    if not _SCHEDULED.exists():
        return lambda: (time.process_time(),) * 2
    file = _SCHEDULED.open("rb", buffering=0)

    def seconds() -> tuple[float, float]:
        ran, waited, _ = os.pread(file.fileno(), 64, 0).split()
        return int(ran) / 1e9, (int(ran) + int(waited)) / 1e9

    return seconds


class Pace:
    """One for all readers of a process. `worked_s`: seconds that tasks have worked on the loop so far."""

    def __init__(self, worked_s: Callable[[], float]) -> None:
        self._tasks_s = worked_s
        self._worked_s = worked_s()
        self._free_at = self._looked_at = time.monotonic()
        self._now_s = _scheduled()
        self._ran_s, self._wanted_s = self._now_s()
        self.is_busy = False
        #: How long the loop takes for a second's work, while others want its core too.
        self._stretch = 1.0

    def _look(self, now: float) -> None:
        if now - self._looked_at >= _LOOK_S:
            (ran_s, wanted_s), worked_s, span_s = self._now_s(), self._tasks_s(), now - self._looked_at
            self.is_busy = wanted_s - self._wanted_s >= BUSY * span_s and worked_s - self._worked_s >= WORKED * span_s
            self._stretch = (wanted_s - self._wanted_s) / max(ran_s - self._ran_s, 1e-6)
            self._looked_at, self._ran_s, self._wanted_s, self._worked_s = now, ran_s, wanted_s, worked_s

    def sent(self, seconds: float) -> None:
        """Something was sent, which took so long."""
        self.worked(min(seconds, _SEND_S) + _TURN_S * self._stretch)

    def worked(self, seconds: float) -> None:
        """Work was done for readers."""
        now = time.monotonic()
        self._look(now)
        if self.is_busy:
            self._free_at = min(max(self._free_at, now) + _REST * seconds, now + _REST_MAX_S)

    async def rest(self) -> None:
        """Give the loop a turn, and wait until readers may work again."""
        await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
