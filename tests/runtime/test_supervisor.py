"""The supervisor restarts what fails, gives up where that cannot help, and passes a stop on."""

import subprocess
import sys

import pytest

from streamflow.runtime import supervisor
from streamflow.runtime.supervisor import Supervisor


def _python(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code])


def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(supervisor, "PAUSE_MAX_S", 0.02)


def test_a_failed_worker_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _quick(monkeypatch)
    codes = iter([70, 1, 0])
    started: list[int] = []

    def spawn(number: int) -> "subprocess.Popen[bytes]":
        started.append(number)
        return _python(f"raise SystemExit({next(codes)})")

    said: list[str] = []
    assert Supervisor(1, spawn, said.append).run() == 0
    assert started == [0, 0, 0]
    assert "ended with 70" in said[0]


def test_a_worker_that_refuses_stops_everything() -> None:
    def spawn(number: int) -> "subprocess.Popen[bytes]":
        return _python("raise SystemExit(78)" if number == 0 else "import time; time.sleep(60)")

    assert Supervisor(2, spawn, lambda _: None).run() == 78


def test_too_many_failures_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _quick(monkeypatch)
    monkeypatch.setattr(supervisor, "FAILURES_MAX", 3)
    monkeypatch.setattr(supervisor, "_STEP_S", 0.01)
    said: list[str] = []
    assert Supervisor(1, lambda _: _python("raise SystemExit(3)"), said.append).run() == 70
    assert "failed 3 times" in said[-1]


@pytest.fixture(autouse=True)
def _signals_stay():
    """The supervisor takes signals over; give them back."""
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
