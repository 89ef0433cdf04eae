"""The supervisor: a small parent process that keeps N workers running.

worker ends with 0      it was asked to: not started again
with 78                 a restart cannot help: everything stops, the supervisor ends with 78
otherwise               started again after a pause of 0.5 s, doubling up to 30 s; the pause is forgotten after a
                        minute of good running; after 10 failures within 10 minutes everything stops with 70
"""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streamflow.runtime.exit_codes import EXIT_FAILED, EXIT_REFUSED

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
FORGET_AFTER_S = 60.0
FAILURES_MAX = 10
FAILURES_WINDOW_S = 600.0
_STEP_S = 0.1


@dataclass(slots=True)
class _Slot:
    """One worker's place: its process, when it started, when it may start again, and its recent failures."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = PAUSE_FIRST_S
    failures: list[float] = field(default_factory=list)
    done: bool = False


class Supervisor:
    """Runs `spawn(number)` for each worker until all are done. SIGTERM and SIGINT are passed on, once for a stop in
    order, twice for an end at once."""

    def __init__(
        self, count: int, spawn: Callable[[int], "subprocess.Popen[bytes]"], say: Callable[[str], None]
    ) -> None:
        self._slots = [_Slot(number) for number in range(count)]
        self._spawn, self._say = spawn, say
        self._stopping = False
        self._exit_code = 0

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop, or has given up; also when that came after the last worker's end."""
        return self._stopping

    def run(self) -> int:
        """Exit code for the parent."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while any(not slot.done for slot in self._slots):
            for slot in self._slots:
                self._look_after(slot)
            time.sleep(_STEP_S)
        return self._exit_code

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._stopping = True
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is None:
                slot.process.send_signal(number)
            elif slot.process is None:
                slot.done = True

    def _look_after(self, slot: _Slot) -> None:
        now = time.monotonic()
        if slot.done:
            return
        if slot.process is None:
            if now >= slot.start_at:
                slot.process, slot.started_at = self._spawn(slot.number), now
            return
        code = slot.process.poll()
        if code is None:
            return
        slot.process = None
        if code == 0 or self._stopping:
            slot.done = True
            self._exit_code = self._exit_code or (code if not self._stopping else 0)
        elif code == EXIT_REFUSED:
            self._give_up(f"worker {slot.number} refuses to run, see its log", EXIT_REFUSED)
        else:
            self._failed(slot, code, now)

    def _failed(self, slot: _Slot, code: int, now: float) -> None:
        if now - slot.started_at > FORGET_AFTER_S:
            slot.pause_s = PAUSE_FIRST_S
        slot.failures = [at for at in slot.failures if now - at < FAILURES_WINDOW_S] + [now]
        if len(slot.failures) >= FAILURES_MAX:
            self._give_up(f"worker {slot.number} failed {FAILURES_MAX} times in {FAILURES_WINDOW_S:.0f} s", EXIT_FAILED)
            return
        self._say(f"worker {slot.number} ended with {code}; starting it again in {slot.pause_s:.1f} s")
        slot.start_at = now + slot.pause_s
        slot.pause_s = min(PAUSE_MAX_S, slot.pause_s * 2)

    def _give_up(self, why: str, code: int) -> None:
        self._say(f"{why}; stopping everything")
        self._exit_code = code
        for slot in self._slots:
            slot.done = slot.done or slot.process is None
        self._stop(signal.SIGTERM)
