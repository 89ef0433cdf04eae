"""Exactly once under kills and stalls, the short form; `make chaos` is the long one."""

import asyncio
from pathlib import Path

import pytest

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.chaos.attacks import Attack, point_attack, random_attack, refusing_attack
from tests.chaos.harness import Run, new_run
from tests.chaos.orders import Verdict

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


def _run(
    folder: Path,
    count: int,
    pace: int,
    attack: Attack,
    mistake: str = "",
    workers: int = 3,
) -> tuple[Run, Verdict]:
    broker = EmbeddedBroker.start(folder / "kafka")
    try:
        run = new_run(broker.bootstrap, folder / "state", count, pace, 7, print, mistake)
        run.workers = workers
        verdict = asyncio.run(run.execute(attack))
        print(run.report())
        return run, verdict
    finally:
        broker.stop()


def test_kills_at_random_and_at_fault_points_lose_and_double_nothing(tmp_path: Path) -> None:
    points = ("before_commit", "after_commit", "after_sends")

    async def attack(run: Run) -> None:
        await random_attack(kills=4, stalls=1, gap_s=1.5)(run)
        await point_attack(points, ("crash",), gap_s=3)(run)

    run, verdict = _run(tmp_path, 40_000, 2_000, attack)
    fired = run.fired()
    assert all(fired[f"{point} crash"] == 1 for point in points), run.report()
    assert run.delivered["stall"] == 1, run.report()
    assert run.delivered["kill"] >= 4, run.report()
    assert verdict.is_exact, str(verdict)


def test_a_stall_just_before_the_commit_is_fenced(tmp_path: Path) -> None:
    attack = point_attack(("before_commit",), ("stall",), gap_s=4)
    run, verdict = _run(tmp_path, 30_000, 1_500, attack)
    assert run.fired()["before_commit stall"] == 1, run.report()
    assert verdict.is_exact, str(verdict)


def test_results_that_the_broker_refuses_for_a_while_are_neither_lost_nor_put_aside(tmp_path: Path) -> None:
    """The attack that shows `commit_before_sends`, without the mistake: also workers that start meanwhile stay exact."""

    async def attack(run: Run) -> None:
        refusing = asyncio.create_task(refusing_attack()(run))
        await asyncio.sleep(3)
        run.kill(run.slots[0])  # its next life reads the small limit when it starts
        await refusing

    run, verdict = _run(tmp_path, 30_000, 1_500, attack)
    assert run.broker_refusals() > 0, "the broker refused nothing: the attack is broken"
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
    _, verdict = _run(tmp_path, 30_000, 1_500, attack, mistake, workers)
    assert not verdict.is_exact, "a planted mistake went unnoticed: the harness is broken"
