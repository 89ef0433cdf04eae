"""Exactly once while connections break, a worker is cut off, and the broker goes and comes back."""

import asyncio
from pathlib import Path

import pytest

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.chaos.harness import new_run
from tests.chaos.network import bounce_attack, network_attack, proxied_broker

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_worker_that_is_cut_off_and_connections_that_break_lose_and_double_nothing(tmp_path: Path) -> None:
    broker, proxies = proxied_broker(tmp_path / "kafka", 2)
    run = new_run(broker.bootstrap, tmp_path / "state", 30_000, 1_000, 7, print)
    run.workers, run.routes = 2, [proxy.address for proxy in proxies]

    async def main() -> None:
        for proxy in proxies:
            await proxy.start()
        try:
            verdict = await run.execute(network_attack(proxies, 4))
        finally:
            for proxy in proxies:
                await proxy.stop()
        print(run.report())
        assert run.delivered["network stall"] == 2, run.report()
        assert verdict.is_exact, str(verdict)

    try:
        asyncio.run(main())
    finally:
        broker.stop()


def test_a_broker_that_stops_and_dies_and_comes_back_loses_and_doubles_nothing(tmp_path: Path) -> None:
    broker = EmbeddedBroker.start(tmp_path / "kafka")
    run = new_run(broker.bootstrap, tmp_path / "state", 30_000, 1_000, 7, print)
    try:
        verdict = asyncio.run(run.execute(bounce_attack(broker, 2)))
        print(run.report())
        assert run.delivered["broker bounce"] == 2, run.report()
        assert verdict.is_exact, str(verdict)
    finally:
        broker.stop()
