"""Windows that close in slices on a real Kafka: a worker dies between two of them."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str}}
nodes:
  sales: {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 1}}
  daily: {{kind: window, input: sales, window: {{type: tumbling, size: 1d}}, aggregate: {{n: count()}}}}
  out: {{kind: sink, input: daily, topic: {name}.daily}}
"""
_SHOPS, _DAY_MS = 8_000, 86_400_000


class _Sliced(Product):
    """Slices of 100 rows."""

    launcher = (
        "-c",
        "import streamflow.engine.fold_table as table; table.CLOSING_ROWS = 100\n"
        "import sys; sys.argv[0] = 'streamflow'\n"
        "from streamflow.cli.main import app; app()",
    )


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = _Sliced(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


async def _read(kafka: str, topic: str, product: Product) -> list[dict[str, Any]]:
    """Every committed row until one of the last day comes; the worker dies when the first slices are there."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    found: list[dict[str, Any]] = []
    try:
        while not found or found[-1]["shop"] != "last":
            found.append(json.loads((await asyncio.wait_for(consumer.getone(), 60)).value))
            if len(found) == 600:
                product.stop(0, signal.SIGKILL)
                await asyncio.to_thread(product.start, 0)
        return found
    finally:
        await consumer.stop()


def test_each_window_fires_once_when_a_worker_dies_between_slices(product: Product, kafka: str) -> None:
    product.start(0)
    for start in range(0, _SHOPS, 1_000):
        answer = product.publish([{"time": 1_000, "shop": f"s{number}"} for number in range(start, start + 1_000)])
        assert answer["accepted"] == 1_000
    product.publish([{"time": _DAY_MS, "shop": "last"}, {"time": 3 * _DAY_MS, "shop": "beyond"}])
    rows = asyncio.run(_read(kafka, f"{product.name}.daily", product))
    assert sorted(row["shop"] for row in rows) == sorted([*(f"s{number}" for number in range(_SHOPS)), "last"])
    assert {row["n"] for row in rows} == {1}
