"""The trades of the long chaos form and their model, in the driver: joins, sliding windows and sessions across crashes."""

import random

import orjson
import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.load import load_topology
from tests.chaos.orders import START_MS
from tests.chaos.trades import TRADES


@pytest.mark.parametrize("seed", [0, 1])
def test_trades_across_crashes_are_what_the_model_says(seed: int) -> None:
    chance = random.Random(seed)
    driver = Driver(make_plan(load_topology(TRADES.topology)), partitions=4, overlap=bool(seed % 2))
    driver.now_ms = START_MS + 10_000_000
    driver.crash_at = {number: chance.choice(list(CrashPoint)) for number in range(20, 400, 17)}
    trades = TRADES.make(1_000, seed, 0)
    for start in range(0, len(trades), 200):
        for trade in trades[start : start + 200]:
            for topic, _, body in TRADES.records(trade):
                driver.publish(topic, [body])
        driver.run()
    for topic, partition, key, body in TRADES.closing(trades):
        driver.log.partitions[topic, partition].append(key.encode(), orjson.dumps(body), driver.now_ms)
    driver.run()
    outputs = [row | {"_topic": topic} for topic in TRADES.read for row in driver.output(topic)]
    verdict = TRADES.judge(outputs, TRADES.expected(trades))
    assert verdict.is_exact, str(verdict)
    assert driver.dead_letters() == []
    outputs.append(outputs[0])
    assert not TRADES.judge(outputs, TRADES.expected(trades)).is_exact
