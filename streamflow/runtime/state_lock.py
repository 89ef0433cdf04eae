"""One worker per state folder and run: a lock file that lives as long as the process.

RocksDB locks each store too, but cannot say by whom, and only when a task is opened there. The operating system lets
this lock go when the process ends, however it ends. A holder that is stopping is gone within its shutdown deadline, so
a newcomer waits as long; a holder that is still there does not mean to go.
"""

import asyncio
import fcntl
import logging
import os
import time
from pathlib import Path

from streamflow.errors import StateInUse

log = logging.getLogger(__name__)

_LOOK_S = 0.1


class StateLock:
    """The lock of `folder`, which is made when missing. `wait_s`: how long a holder may take to go."""

    def __init__(self, folder: Path, wait_s: float) -> None:
        self._folder, self._wait_s = folder, wait_s
        self._descriptor: int | None = None

    async def take(self) -> None:
        """Take it and write the process id into it. Raises StateInUse when another process keeps it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            await self._wait(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, b"%d" % os.getpid(), 0)
        self._descriptor = descriptor

    async def _wait(self, descriptor: int) -> None:
        deadline, told = time.monotonic() + self._wait_s, False
        while not _is_free(descriptor):
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
            if time.monotonic() >= deadline:
                raise StateInUse(
                    f"process {holder} works with the state in {self._folder}: "
                    f"give each worker a folder of its own (--state-dir or STREAMFLOW_STATE_DIR), or stop that process"
                )
            if not told:
                log.warning(
                    "process %s has the state in %s; waiting %.0f s for its end", holder, self._folder, self._wait_s
                )
                told = True
            await asyncio.sleep(_LOOK_S)

    def release(self) -> None:
        """Let it go; idempotent."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    """Whether the lock could be taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
