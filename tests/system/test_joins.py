"""A join on a real Kafka: two topics, one worker, a crash in between."""

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Order: {{{{id: str, time: timestamp, customer: str, amount: int}}}}
  Payment: {{{{order: str, time: timestamp, method: str}}}}
nodes:
  orders: {{{{kind: source, topic: {name}.sales, schema: Order, event_time: time, key: customer, partitions: 3, idle_after: 500ms}}}}
  payments: {{{{kind: source, topic: {name}.payments, schema: Payment, event_time: time, key: order, partitions: 2, idle_after: 500ms}}}}
  settled: {{{{kind: join, inputs: [orders, payments], on: [id, order], within: {{{{after: 1s}}}}, type: left, prefix: {{{{payments: p_}}}}}}}}
  out: {{{{kind: sink, input: settled, topic: {name}.settled}}}}
""".replace("{{{{", "{{").replace("}}}}", "}}")


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


async def _read(kafka: str, topic: str, count: int) -> list[dict[str, Any]]:
    """The first `count` committed rows, and a moment more to see that there are no others."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    found: list[dict[str, Any]] = []
    try:
        while True:
            record = await asyncio.wait_for(consumer.getone(), 60 if len(found) < count else 2)
            found.append(json.loads(record.value))
    except TimeoutError:
        return found
    finally:
        await consumer.stop()


def test_orders_meet_payments_across_a_crash_and_a_lost_disk(product: Product, kafka: str, tmp_path: Path) -> None:
    """Orders come before the crash, payments behind it; the unpaid ones leave alone, each once."""
    product.start(0)
    start = 1_000_000
    orders = [{"id": f"o{n}", "time": start + n, "customer": f"c{n % 7}", "amount": n} for n in range(60)]
    product.publish(orders)
    token = product.publish([{"id": "last", "time": start + 60, "customer": "c", "amount": 0}])["token"]
    assert product.query("settled", key="last", after=token).status_code == 200
    product.stop(0, signal.SIGKILL)
    shutil.rmtree(tmp_path / "state-0")
    product.start(0)
    payments = [{"order": f"o{n}", "time": start + n + 500, "method": "card"} for n in range(0, 60, 2)]
    path = f"/v1/topics/{product.name}.payments/events"
    product.client().post(path, content=json.dumps(payments))
    over = threading.Event()

    def go_on() -> None:
        """What goes on moves time, past partitions that are idle by then."""
        for number in range(900):
            product.publish([{"id": "end", "time": start + 10_000 + number, "customer": "c", "amount": 0}])
            later = [{"order": "none", "time": start + 10_000 + number, "method": "cash"}]
            product.client().post(path, content=json.dumps(later))
            if over.wait(0.5):
                return

    with ThreadPoolExecutor(1) as pool:
        going_on = pool.submit(go_on)
        try:
            rows = asyncio.run(_read(kafka, f"{product.name}.settled", 61))
        finally:
            over.set()
        going_on.result()
    assert sorted(row["id"] for row in rows) == sorted([*(f"o{n}" for n in range(60)), "last"])
    assert {row["id"] for row in rows if row["p_method"] == "card"} == {f"o{n}" for n in range(0, 60, 2)}
    assert all((row["p_time"] is None) == (row["p_method"] is None) for row in rows)
