"""Keeps work for readers from slowing the data path: while the loop is busy, twelve parts rest follow one part work.

Busy is what the system says of the thread: the time that it ran or wanted to run. So readers get all they want of a
core that would be idle, and a tenth where others want it too.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

#: Share of the time above which the loop counts as busy.
BUSY = 0.8
#: Rest per work while it is busy. With what is not measured here, such as turns of the loop, readers get a tenth.
_REST = 12
#: However many read snapshots at once, nobody waits longer for a turn.
_REST_MAX_S = 2.0
#: How often the load is looked at; sending is worth so much at most, more is waiting for the client.
_LOOK_S = 0.05
_SEND_S = 0.001
#: Of the main thread, whose loop it is: nanoseconds that it ran, and that it waited for a core.
_SCHEDULED = Path("/proc/self/schedstat")


def _scheduled() -> Callable[[], float]:
    """Tells the seconds that the loop ran or wanted to; where the system does not say, that the process ran."""
    if not _SCHEDULED.exists():
        return time.process_time
    file = _SCHEDULED.open("rb", buffering=0)

    def wanted_s() -> float:
        ran, waited, _ = os.pread(file.fileno(), 64, 0).split()
        return (int(ran) + int(waited)) / 1e9

    return wanted_s


class Pace:
    """One for all readers of a process."""

    def __init__(self) -> None:
        self._free_at = self._looked_at = time.monotonic()
        self._now_s = _scheduled()
        self._wanted_s = self._now_s()
        self.is_busy = False

    def _look(self, now: float) -> None:
        if now - self._looked_at >= _LOOK_S:
            wanted_s = self._now_s()
            self.is_busy = wanted_s - self._wanted_s >= BUSY * (now - self._looked_at)
            self._looked_at, self._wanted_s = now, wanted_s

    def sent(self, seconds: float) -> None:
        """Something was sent, which took so long."""
        self.worked(min(seconds, _SEND_S))

    def worked(self, seconds: float) -> None:
        """Work was done for readers."""
        now = time.monotonic()
        self._look(now)
        if self.is_busy:
            self._free_at = min(max(self._free_at, now) + _REST * seconds, now + _REST_MAX_S)

    async def rest(self) -> None:
        """Give the loop a turn, and wait until readers may work again."""
        await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
