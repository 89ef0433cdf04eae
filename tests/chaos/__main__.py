"""The long form: `python -m tests.chaos [--orders N] [--seed S]`. Exit code 0 only when everything is exact."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.chaos.attacks import point_attack, random_attack
from tests.chaos.harness import Run, new_run


async def _attack(run: Run) -> None:
    await random_attack(kills=30, stalls=5, gap_s=1.5)(run)
    await point_attack()(run)


def main() -> int:
    """Run the long form once."""
    parser = argparse.ArgumentParser(description="exactly once under kills and stalls")
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--pace", type=int, default=1_000, help="orders per second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, print)
        try:
            run = new_run(broker.bootstrap, Path(folder) / "state", chosen.orders, chosen.pace, chosen.seed, print)
            verdict = asyncio.run(run.execute(_attack))
        finally:
            broker.stop()
        deaths = sum(slot.deaths for slot in run.slots)
        print(f"{len(run.log)} faults, {deaths} deaths, {len(run.outputs)} results: {verdict}")
        return 0 if verdict.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
