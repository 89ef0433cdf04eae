"""The watchdog's table, and that it barks also when the loop stands still."""

import asyncio
import threading
import time

import pytest

from streamflow.runtime.watchdog import Pulse, Verdict, Watchdog, judge


@pytest.mark.parametrize(
    ("loop", "moved", "waiting", "verdict"),
    [
        (0.1, 0.5, True, Verdict.WORKING),
        (0.1, 99.0, False, Verdict.IDLE),
        (0.1, 99.0, True, Verdict.STUCK),
        (99.0, 0.5, False, Verdict.STUCK),
        (0.1, 0.5, False, Verdict.WORKING),
    ],
)
def test_stuck_is_told_from_idle(loop: float, moved: float, waiting: bool, verdict: Verdict) -> None:
    assert judge(Pulse(loop, moved, waiting), 10.0) is verdict


def test_a_silent_loop_is_noticed_from_another_thread() -> None:
    barked = threading.Event()
    told: list[str] = []

    def bark(what: str) -> None:
        told.append(what)
        barked.set()

    async def main() -> None:
        dog = Watchdog(3.0, lambda: (time.monotonic(), False), bark)
        dog.start()
        assert barked.wait(60)
        assert "loop silent" in told[0]
        assert "test_watchdog.py:" in told[0], "what holds the loop up is named"
        dog.stop()

    asyncio.run(main())


def test_a_loop_that_turns_is_not_silent_whatever_else_has_ended_on_it() -> None:
    async def main() -> None:
        dog = Watchdog(3.0, lambda: (time.monotonic(), False), print)
        dog.start()
        first, deadline = dog._turned_at, time.monotonic() + 60
        while dog._turned_at == first:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        dog.stop()

    asyncio.run(main())
