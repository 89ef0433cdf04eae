"""Ends a process when the one that started it is gone: `python guard.py PID`, with a pipe of the starter's as input.

The pipe closes however the starter ends, kill -9 included. Run as a file, without the package: it must stay small.
"""

import os
import select
import signal
import sys

_PATIENCE_S = 15.0


def main() -> None:
    """Wait for the pipe to close; then SIGTERM, and SIGKILL after 15 s."""
    try:
        process = os.pidfd_open(int(sys.argv[1]))  # a number that is used again never means another process
    except ProcessLookupError:
        return
    ready, _, _ = select.select([process, sys.stdin], [], [])
    if process in ready:
        return
    signal.pidfd_send_signal(process, signal.SIGTERM)
    if not select.select([process], [], [], _PATIENCE_S)[0]:
        signal.pidfd_send_signal(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
