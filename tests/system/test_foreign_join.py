"""A join by foreign key on a real Kafka: two tables, one worker, a crash and a lost disk in between."""

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Order: {{id: int, time: timestamp, customer: str?, amount: int, gone: bool}}
  Customer: {{id: str, time: timestamp, city: str}}
nodes:
  orders: {{kind: source, topic: {name}.sales, schema: Order, event_time: time, key: id, partitions: 3}}
  customers: {{kind: source, topic: {name}.customers, schema: Customer, event_time: time, key: id, partitions: 2}}
  placed: {{kind: table, input: orders, delete_when: gone}}
  known: {{kind: table, input: customers}}
  billed: {{kind: foreign_join, inputs: [placed, known], key: customer,
            fields: {{id: placed.id, amount: placed.amount, city: known.city}}}}
  out: {{kind: sink, input: billed, topic: {name}.billed}}
"""
_START = 1_000_000


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _order(number: int, customer: int | None, *, at: int = 0, gone: bool = False) -> dict[str, Any]:
    name = None if customer is None else f"c{customer}"
    return {"id": number, "time": _START + at, "customer": name, "amount": number, "gone": gone}


def _move(product: Product, cities: dict[int, str], at: int) -> None:
    rows = [{"id": f"c{number}", "time": _START + at, "city": city} for number, city in cities.items()]
    answer = product.client().post(f"/v1/topics/{product.name}.customers/events", content=json.dumps(rows))
    assert answer.json()["accepted"] == len(rows)


def _until_billed(product: Product, expected: dict[int, str]) -> None:
    """Wait until the table has these orders, with these cities."""
    deadline = time.monotonic() + 60
    found: dict[int, str] = {}
    while found != expected:
        assert time.monotonic() < deadline, (found, expected)
        rows = product.query("billed", limit=1_000).json()["rows"]
        found = {row["key"]: row["value"]["city"] for row in rows}
        time.sleep(0.1)


async def _replay(kafka: str, topic: str, expected: dict[int, str]) -> None:
    """Read committed rows until they make the expected table; what is gone is told once, as it was."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        found: dict[int, str] = {}
        while found != expected:
            row = json.loads((await asyncio.wait_for(consumer.getone(), 60)).value)
            if row["deleted"]:
                assert found.pop(row["id"]) == row["city"]
            else:
                found[row["id"]] = row["city"]
    finally:
        await consumer.stop()


def test_results_follow_both_tables_across_a_crash_and_a_lost_disk(
    product: Product, kafka: str, tmp_path: Path
) -> None:
    product.start(0)
    _move(product, dict.fromkeys(range(4), "Rome"), 0)
    product.publish([_order(number, number % 5) for number in range(50)])
    expected = {number: "Rome" for number in range(50) if number % 5 < 4}
    _until_billed(product, expected)
    product.stop(0, signal.SIGKILL)
    shutil.rmtree(tmp_path / "state-0")
    product.start(0)
    _move(product, {1: "Oslo", 4: "Bonn"}, 10)
    product.publish([_order(number, 1, at=10) for number in range(0, 50, 5)])  # from c0 to c1
    product.publish([_order(number, None, at=10) for number in range(2, 50, 5)])  # c2 lost them
    product.publish([_order(3, 3, at=10, gone=True)])
    _move(product, {0: "Kiel", 2: "Kiel"}, 20)
    cities = {0: "Oslo", 1: "Oslo", 3: "Rome", 4: "Bonn"}
    expected = {number: cities[number % 5] for number in range(50) if number % 5 != 2 and number != 3}
    _until_billed(product, expected)
    asyncio.run(_replay(kafka, f"{product.name}.billed", expected))
