"""The event bus of a real worker on a real Kafka: what it says about its life."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from streamflow.bus.event import BusEvent
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

_TOPOLOGY = """
topology: {name}
schemas: {{Sale: {{time: timestamp, shop: str, amount: int}}}}
nodes:
  sales:  {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 1}}
  totals: {{kind: window, input: sales, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    for worker in made.workers.values():
        worker.kill()
        worker.wait()


def _events(kafka: str, namespace: str) -> list[BusEvent]:
    """Everything on the bus of a namespace."""

    async def read() -> list[BusEvent]:
        consumer = AIOKafkaConsumer(
            f"{namespace}.events",
            bootstrap_servers=kafka,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        await consumer.start()
        found = await consumer.getmany(timeout_ms=1_000)
        await consumer.stop()
        return [BusEvent.decode(record.value) for records in found.values() for record in records]

    return asyncio.run(read())


def _wait_for(kafka: str, namespace: str, *types: str) -> list[BusEvent]:
    deadline = time.monotonic() + 60
    while True:
        events = _events(kafka, namespace)
        if set(types) <= {event.type for event in events}:
            return events
        assert time.monotonic() < deadline, [event.type for event in events]


def _data(events: list[BusEvent], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.type == kind]


def test_the_life_of_a_worker_is_on_the_bus(product: Product, kafka: str) -> None:
    bus = product.name
    environment = {"STREAMFLOW_NAMESPACE": bus}
    product.start(0, **environment)
    product.stop(0, signal.SIGKILL)
    product.start(0, **environment, STREAMFLOW_COMMIT_INTERVAL_MS="50")
    assert product.stop(0) == 0
    events = _wait_for(kafka, bus, "WORKER_STOPPED")
    url = f"http://127.0.0.1:{product.ports[0]}"
    assert {(event.source, event.subject) for event in events} == {(url, product.name)}
    started = _data(events, "WORKER_STARTED")
    assert [each["predecessor"] for each in started] == ["none", "killed"]
    changed = _data(events, "CONFIGURATION_CHANGED")
    assert [each["changes"] for each in changed] == [{"commit_interval_ms": [100, 50]}]
    place = {"worker": url, "stage": "sales", "partition": 0}
    assert _data(events, "PARTITION_ASSIGNED") == [place, place]
    assert _data(events, "PARTITION_REVOKED") == [{**place, "reason": "stop"}]
    assert [each["records"] for each in _data(events, "RESTORED")] == [0, 0]


def test_a_worker_without_a_bus_has_none(product: Product, kafka: str) -> None:
    product.start(0, STREAMFLOW_NAMESPACE=product.name, STREAMFLOW_EVENTS_DETAIL="off")
    assert product.stop(0) == 0

    async def topics() -> set[str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
        await consumer.start()
        found: set[str] = await consumer.topics()
        await consumer.stop()
        return found

    assert f"{product.name}.events" not in asyncio.run(topics())
