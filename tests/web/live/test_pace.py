"""Readers rest while the loop is busy with the data path, and only then."""

import asyncio
import time

from streamflow.web.live.pace import Pace


def test_rest_follows_work_while_the_loop_is_busy() -> None:
    async def main() -> None:
        worked_s = 0.0
        pace = Pace(lambda: worked_s)
        await asyncio.sleep(0.3)
        pace.worked(1_000.0)
        await asyncio.wait_for(pace.rest(), 60)  # it was idle, so nothing follows
        _work(0.3)
        pace.worked(1_000.0)
        await asyncio.wait_for(pace.rest(), 60)  # none of it was the tasks' work
        _work(0.3)
        worked_s += 0.3
        pace.worked(0.02)
        before = time.monotonic()
        await pace.rest()
        assert time.monotonic() - before > 0.2

    asyncio.run(main())


def _work(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
