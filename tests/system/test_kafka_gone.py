"""Kafka goes away for good: whatever is told to stop then, ends."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.exit_codes import EXIT_FAILED
from streamflow.runtime.hooks.ending import disconnect
from tests.system.test_worker import Product, _sale

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


async def _disconnect_without_kafka(broker: EmbeddedBroker, topic: str) -> None:
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, retry_backoff_ms=60_000)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, enable_idempotence=True)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    for client in (consumer, producer, admin):
        await client.start()
    consumer.assign([place])
    await consumer.position(place)
    await producer.partitions_for(topic)
    broker.kill()
    await producer.send(topic, b"never sent", partition=0)
    deadline = time.monotonic() + 60
    while any(each.connected() for each in consumer._client._conns.values()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        await disconnect(consumer, producer, admin, None, within_s=1.0)
    for network in (consumer._client, producer.client, admin._client):
        assert not any(each.connected() for each in network._conns.values())


def test_without_kafka_clients_and_workers_end_when_they_are_told_to(tmp_path: Path, unique: str) -> None:
    broker = EmbeddedBroker.start(tmp_path / "kafka")
    product = Product(broker.bootstrap, tmp_path, unique)
    try:
        product.start(0)
        token = product.publish([_sale(1_000 + i, shop=f"s{i}") for i in range(20)])["token"]
        assert product.query("totals", key="Rome", after=token).json()["rows"][0]["value"]["n"] == 20
        ready = product.client().get("/readyz").json()
        assert (ready["topologies"], ready["dependencies"]) == (1, {"kafka": "up"})
        asyncio.run(_disconnect_without_kafka(broker, f"{unique}.sales"))
        deadline = time.monotonic() + 60
        while product.client().get("/readyz").json()["dependencies"] != {"kafka": "down"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        code = product.stop(0)
    finally:
        broker.kill()
        product.kill()
    log = (tmp_path / "worker-0.log").read_text()
    assert "the stop took longer" not in log
    # Nothing waited for a commit, or one had failed already, before the stop.
    assert (code, "streamflow.runtime.worker: stopped" in log) in ((0, True), (EXIT_FAILED, False)), log[-3_000:]
