"""Attacks on a run: random kills and stalls, every named fault point as a crash and as a stall, and a broker that refuses."""

import asyncio
import random
from collections.abc import Callable, Coroutine

from streamflow.runtime.faults import POINTS
from tests.chaos.harness import STALL_S, Run

Attack = Callable[[Run], Coroutine[None, None, None]]

#: Passed once in a life, so that a crash must come at the first pass.
_ONCE = ("after_init", "during_restore", "during_revoke")


def random_attack(kills: int, stalls: int, gap_s: float) -> Attack:
    """Kills and stalls at random moments, `gap_s` apart on average, each of a worker that lives."""

    async def attack(run: Run) -> None:
        chance = random.Random(run.seed)
        events = ["kill"] * kills + ["stall"] * stalls
        chance.shuffle(events)
        stalled: list[asyncio.Task[None]] = []
        for event in events:
            await asyncio.sleep(chance.uniform(0.3, 1.7) * gap_s)
            slot = await run.living(chance)
            if event == "kill":
                run.kill(slot)
            else:
                stalled.append(asyncio.create_task(run.stall(slot, STALL_S)))
        await asyncio.gather(*stalled)

    return attack


def point_attack(
    points: tuple[str, ...] = POINTS, actions: tuple[str, ...] = ("crash", "stall"), gap_s: float = 3.0
) -> Attack:
    """A crash at each point, and a stall beyond the session at each point, one worker after the other.

    The next begins when the fault has fired and `gap_s` have passed; a stall has then also ended.
    """

    async def attack(run: Run) -> None:
        chance = random.Random(run.seed)
        for action in actions:
            for number, point in enumerate(points):
                slot, fault = run.slots[number % len(run.slots)], f"{point} {action}"
                amount = STALL_S if action == "stall" else 1 if point in _ONCE else chance.randrange(3, 30)
                fired = run.fired()[fault]
                run.restart_with(slot, f"{point}={action}:{amount}", without_disk=point == "during_restore")
                if point == "during_revoke":
                    await asyncio.sleep(gap_s)
                    run.kill(run.slots[(number + 1) % len(run.slots)])  # its return takes partitions away
                await run.until_fired(fault, fired + 1)
                await asyncio.sleep(gap_s + (STALL_S if action == "stall" else 0))

    return attack


def refusing_attack(size: int = 100, seconds: float = 4.0) -> Attack:
    """The broker refuses results for a while. The size lets its own transaction markers pass, 78 bytes: when they do
    not, Kafka 4.1 gives the transaction up for good, and its id with it, until the broker starts again."""

    async def attack(run: Run) -> None:
        await asyncio.sleep(2)
        await run.limit_record_size(size)
        await asyncio.sleep(seconds)
        await run.limit_record_size(4 << 20)

    return attack
