"""One worker per state folder and run: a lock file that lives as long as the process.

RocksDB locks each store too, but cannot say by whom, and only when a task is opened there. The operating system lets
this lock go when the process ends, however it ends. A holder that is stopping is gone within its shutdown deadline, so
a newcomer waits as long; a holder that is still there does not mean to go.
"""

import fcntl
import logging
import os
import time
from pathlib import Path

from streamflow.errors import StateInUse

log = logging.getLogger(__name__)

_LOOK_S = 0.1


def lock_state(folder: Path, wait_s: float) -> None:
    """Lock the folder for the rest of this process, and write the process id into the lock. Makes it when missing.

    wait_s: how long a holder may take to go. Raises StateInUse when it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline, told = time.monotonic() + wait_s, False
    while not _is_free(descriptor):
        holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        if time.monotonic() >= deadline:
            os.close(descriptor)
            raise StateInUse(
                f"process {holder} works with the state in {folder}: "
                f"give each worker a folder of its own (--state-dir or STREAMFLOW_STATE_DIR), or stop that process"
            )
        if not told:
            log.warning("process %s has the state in %s; waiting %.0f s for its end", holder, folder, wait_s)
            told = True
        time.sleep(_LOOK_S)
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, b"%d" % os.getpid(), 0)


def _is_free(descriptor: int) -> bool:
    """Whether the lock could be taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
