"""Attacks on a run: random kills and stalls, and every named fault point as a crash and as a stall."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from streamflow.runtime.faults import POINTS
from tests.chaos.harness import STALL_S, Run

Attack = Callable[[Run], Awaitable[None]]


def random_attack(kills: int, stalls: int, gap_s: float) -> Attack:
    """Kills and stalls at random moments, `gap_s` apart on average."""

    async def attack(run: Run) -> None:
        chance = random.Random(run.seed)
        events = ["kill"] * kills + ["stall"] * stalls
        chance.shuffle(events)
        stalled: list[asyncio.Task[None]] = []
        for event in events:
            await asyncio.sleep(chance.uniform(0.3, 1.7) * gap_s)
            slot = chance.choice(run.slots)
            if event == "kill":
                run.kill(slot)
            else:
                stalled.append(asyncio.create_task(run.stall(slot, STALL_S)))
        await asyncio.gather(*stalled)

    return attack


def point_attack(
    points: tuple[str, ...] = POINTS, actions: tuple[str, ...] = ("crash", "stall"), gap_s: float = 3.0
) -> Attack:
    """A crash at each point, and a stall beyond the session at each point, one worker after the other."""

    async def attack(run: Run) -> None:
        chance = random.Random(run.seed)
        for action in actions:
            for number, point in enumerate(points):
                slot = run.slots[number % len(run.slots)]
                if action == "crash":
                    once = point in ("after_init", "during_restore", "during_revoke")
                    run.restart_with(slot, f"{point}=crash:{1 if once else chance.randrange(3, 30)}")
                    await asyncio.sleep(gap_s)
                else:
                    run.restart_with(slot, f"{point}=stall:{STALL_S}")
                    await asyncio.sleep(gap_s + STALL_S)

    return attack


def refusing_attack(size: int = 60, seconds: float = 3.0) -> Attack:
    """The broker refuses results for a while."""

    async def attack(run: Run) -> None:
        await asyncio.sleep(2)
        deaths = sum(slot.deaths for slot in run.slots)
        await run.limit_record_size(size)
        # Workers read the limit when they start: it is lifted as soon as one has died of it.
        for _ in range(int(seconds * 20)):
            if any(slot.process is not None and slot.process.poll() is not None for slot in run.slots):
                break
            if sum(slot.deaths for slot in run.slots) > deaths:
                break
            await asyncio.sleep(0.05)
        await run.limit_record_size(4 << 20)

    return attack


async def together(run: Run, *attacks: Attack) -> None:
    """One attack after the other."""
    for attack in attacks:
        await attack(run)
