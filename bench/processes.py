"""Contenders as processes, measured from outside: CPU time and peak memory of the process and its children."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streamflow.cli.run import MALLOC

_READY_S = 120.0


@dataclass
class Usage:
    """CPU seconds (user and system) and peak resident bytes."""

    cpu_s: float
    peak_bytes: int


def usage_of(pid: int) -> Usage:
    """Usage of a process so far, from /proc."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage((int(stat[11]) + int(stat[12])) / ticks, peak * 1_024)


class Contender:
    """A process that is started, watched and stopped."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        # Modules are compiled once, as the image has them.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment}
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def usage(self) -> Usage:
        """Usage so far."""
        return usage_of(self.process.pid)

    def stop(self) -> None:
        """SIGTERM, then by force after 20 s."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Worker(Contender):
    """A worker of streamflow that answers over HTTP. topology, state: its folder and that of its store; program: what
    starts it; settings: variables of its environment."""

    def __init__(
        self,
        bootstrap: str,
        topology: Path,
        state: Path,
        log: Path,
        session_timeout_ms: int = 6_000,
        program: tuple[str, ...] = ("streamflow",),
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        environment = {
            **MALLOC,  # as `streamflow run` starts its workers
            "STREAMFLOW_BROKERS": bootstrap,
            "STREAMFLOW_STATE_DIR": str(state),
            "STREAMFLOW_HTTP_PORT": str(self.port),
            "STREAMFLOW_LOG_LEVEL": "warning",
            "STREAMFLOW_SESSION_TIMEOUT_MS": str(session_timeout_ms),
            **settings,
        }
        super().__init__(python("-m", *program, "run", str(topology), "--worker"), environment, log)

    def text(self, path: str) -> str:
        """What a path answers. Raises OSError."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def get(self, path: str) -> dict[str, Any]:
        """JSON of a path, empty while there is none."""
        try:
            return dict(json.loads(self.text(path)))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))
        except OSError:
            return {}

    def wait_ready(self, limit_s: float = _READY_S) -> None:
        """Wait until it has tasks and all of them run."""
        deadline = time.monotonic() + limit_s
        while True:
            state = self.get("/readyz")
            if state.get("tasks") and state.get("ready"):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker is not ready, see {self.log}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Stop its work; for less than its session's time-out."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Work again."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, then wait out the session so that the group has noticed."""
        self.process.kill()
        self.process.wait()
        time.sleep(7)


def python(*arguments: str) -> list[str]:
    """Command line of this Python."""
    return [sys.executable, *arguments]


def machine() -> str:
    """Cores, memory and how busy it is, in a sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, load average {os.getloadavg()[2]:.1f}, Python {sys.version.split()[0]}"
