"""Keeps work for readers from slowing the data path: while the process is busy, nine parts rest follow one part work.

Busy is what the process's CPU time says, so that readers get all they want of a core that would be idle.
"""

import asyncio
import time

#: Share of a core above which a process counts as busy.
BUSY = 0.8
#: Rest per work while it is busy: readers get a tenth.
_REST = 9
#: How often the load is looked at; sending is worth so much at most, more is waiting for the client.
_LOOK_S = 0.05
_SEND_S = 0.001


class Pace:
    """One for all readers of a process."""

    def __init__(self) -> None:
        self._free_at = self._looked_at = time.monotonic()
        self._cpu_s = time.process_time()
        self.is_busy = False

    def _look(self, now: float) -> None:
        if now - self._looked_at >= _LOOK_S:
            cpu_s = time.process_time()
            self.is_busy = cpu_s - self._cpu_s >= BUSY * (now - self._looked_at)
            self._looked_at, self._cpu_s = now, cpu_s

    def sent(self, seconds: float) -> None:
        """Something was sent, which took so long."""
        self.worked(min(seconds, _SEND_S))

    def worked(self, seconds: float) -> None:
        """Work was done for readers."""
        now = time.monotonic()
        self._look(now)
        if self.is_busy:
            self._free_at = max(self._free_at, now) + _REST * seconds

    async def rest(self) -> None:
        """Give the loop a turn, and wait until readers may work again."""
        await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
