"""Exactly once under kills and stalls, the short form; `make chaos` is the long one."""

from pathlib import Path

import pytest

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.chaos.attacks import Attack, point_attack, random_attack, refusing_attack
from tests.chaos.harness import new_run

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]


async def _verdict(folder: Path, count: int, pace: int, attack: Attack, mistake: str = "", workers: int = 3):
    broker = EmbeddedBroker.start(folder / "kafka")
    try:
        run = new_run(broker.bootstrap, folder / "state", count, pace, 7, print, mistake)
        run.workers = workers
        verdict = await run.execute(attack)
        return verdict, sum(slot.deaths for slot in run.slots)
    finally:
        broker.stop()


def _run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def test_kills_at_random_and_at_fault_points_lose_and_double_nothing(tmp_path: Path) -> None:
    async def attack(run) -> None:
        await random_attack(kills=4, stalls=1, gap_s=1.5)(run)
        await point_attack(("before_commit", "after_commit", "after_sends"), ("crash",), gap_s=3)(run)

    verdict, deaths = _run(_verdict(tmp_path, 40_000, 2_000, attack))
    assert deaths >= 5
    assert verdict.is_exact, str(verdict)


def test_a_stall_just_before_the_commit_is_fenced(tmp_path: Path) -> None:
    attack = point_attack(("before_commit",), ("stall",), gap_s=4)
    verdict, _ = _run(_verdict(tmp_path, 30_000, 1_500, attack))
    assert verdict.is_exact, str(verdict)


@pytest.mark.parametrize(
    ("mistake", "attack", "workers"),
    [
        ("id_per_worker", point_attack(("before_commit", "before_commit"), ("stall",), gap_s=4), 3),
        ("commit_before_sends", refusing_attack(), 3),
        # One worker: it always finds the store that it left ahead of the changelog.
        ("store_before_commit", point_attack(("before_commit",) * 2, ("crash",), gap_s=9), 1),
    ],
)
def test_the_harness_catches_planted_mistakes(tmp_path: Path, mistake: str, attack: Attack, workers: int) -> None:
    verdict, _ = _run(_verdict(tmp_path, 30_000, 1_500, attack, mistake, workers))
    assert not verdict.is_exact, "a planted mistake went unnoticed: the harness is broken"
