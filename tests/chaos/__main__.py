"""The long form: `python -m tests.chaos [--scenario trades] [--orders N] [--seed S]`; with `--brokers 3` brokers are lost.

Exit code 0 only when everything is exact, every kill and stall reached a living worker, and every fault point fired.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.faults import POINTS
from tests.chaos.attacks import point_attack, random_attack
from tests.chaos.brokers import Losses, loss_attack, start_brokers
from tests.chaos.harness import Run, new_run
from tests.chaos.orders import ORDERS
from tests.chaos.trades import TRADES

KILLS, STALLS = 30, 5
SCENARIOS = {"orders": ORDERS, "trades": TRADES}


async def _attack(run: Run) -> None:
    await random_attack(KILLS, STALLS, gap_s=1.5)(run)
    await point_attack()(run)


def _missing(run: Run) -> list[str]:
    """Faults that were meant to happen and did not."""
    fired = run.fired()
    missing = [f"{point} {action}" for action in ("crash", "stall") for point in POINTS]
    missing = [fault for fault in missing if not fired[fault]]
    wanted = {"kill": KILLS, "stall": STALLS}
    return missing + [name for name, count in wanted.items() if run.delivered[name] < count]


def _lose_brokers(orders: int, pace: int, seed: int) -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says of each attempt that nobody answers
    with tempfile.TemporaryDirectory() as folder:
        brokers, losses = start_brokers(Path(folder), 3), Losses()
        try:
            bootstrap = ",".join(broker.bootstrap for broker in brokers)
            run = new_run(bootstrap, Path(folder) / "state", orders, pace, seed, print)
            verdict = asyncio.run(run.execute(loss_attack(brokers, losses)))
        finally:
            for broker in brokers:
                broker.kill()
        print(f"happened: {run.report()}; {losses}")
        print(f"{len(run.orders)} orders, {len(run.outputs)} results: {verdict}")
        return 0 if verdict.is_exact and losses.is_exact else 1


def main() -> int:
    """Run the long form once."""
    parser = argparse.ArgumentParser(description="exactly once under kills and stalls")
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--pace", type=int, default=1_000, help="orders per second")
    parser.add_argument("--scenario", choices=SCENARIOS, default="orders")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    chosen = parser.parse_args()
    if chosen.brokers == 3:
        return _lose_brokers(chosen.orders, chosen.pace, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, print)
        try:
            scenario = SCENARIOS[chosen.scenario]
            state = Path(folder) / "state"
            run = new_run(broker.bootstrap, state, chosen.orders, chosen.pace, chosen.seed, print, scenario=scenario)
            verdict = asyncio.run(run.execute(_attack))
        finally:
            broker.stop()
        print(f"happened: {run.report()}")
        missing = _missing(run)
        print(
            f"{len(run.orders)} orders, {len(run.outputs)} results: {verdict}"
            + (f"; never happened: {', '.join(missing)}" if missing else "")
        )
        return 0 if verdict.is_exact and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
