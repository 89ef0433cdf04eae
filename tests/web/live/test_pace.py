"""Readers rest while the loop is busy, and only then."""

import asyncio
import time

from streamflow.web.live.pace import Pace


def test_rest_follows_work_while_the_loop_is_busy() -> None:
    async def main() -> None:
        pace = Pace()
        await asyncio.sleep(0.3)
        pace.worked(1_000.0)
        await asyncio.wait_for(pace.rest(), 60)  # it was idle, so nothing follows
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        pace.worked(0.02)
        before = time.monotonic()
        await pace.rest()
        assert time.monotonic() - before > 0.2

    asyncio.run(main())
