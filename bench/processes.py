"""Contenders as processes, measured from outside: CPU time and peak memory of the process and its children."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Usage:
    """CPU seconds (user and system) and peak resident bytes."""

    cpu_s: float
    peak_bytes: int


class Contender:
    """A process that is started, watched and stopped."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=self._log, stderr=self._log)

    def usage(self) -> Usage:
        """Usage so far, from /proc."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        ticks = os.sysconf("SC_CLK_TCK")
        return Usage((int(stat[11]) + int(stat[12])) / ticks, peak * 1_024)

    def stop(self) -> None:
        """SIGTERM, then by force after 20 s."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def python(*arguments: str) -> list[str]:
    """Command line of this Python."""
    return [sys.executable, *arguments]


def machine() -> str:
    """Cores and memory, in a sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {sys.version.split()[0]}"
