"""Timers and deduplicate on a real Kafka: a worker dies between, with and without its disk; everything comes once."""

import asyncio
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Reading: {{time: timestamp, sensor: str, value: float}}}}
nodes:
  readings: {{kind: source, topic: {name}.sales, schema: Reading, event_time: time, key: sensor, partitions: 3}}
  silence:  {{kind: process, input: readings, call: "streamflow.kit.samples:Silence", with: {{minutes: 10}}}}
  silent:   {{kind: sink, input: silence, topic: {name}.silent}}
  reminder: {{kind: process, input: readings, call: "{name}_nodes:Reminder"}}
  once:     {{kind: deduplicate, input: readings, by: [value], within: 1h}}
  passed:   {{kind: sink, input: once, topic: {name}.passed}}
  reminded: {{kind: sink, input: reminder, topic: {name}.reminded}}
"""
_MODULE = """
from streamflow.kit import Counter, Process, Row, Timer, Value
from streamflow.kit.samples import Reading

reminders = Counter("reminders", "what this worker reminded of", labels=["first"])


class Reminded(Row):
    sensor: str
    value: float


class Reminder(Process):
    first = Value(float)

    def process(self, row: Reading) -> None:
        if row.value < 0:
            raise ValueError("below zero")
        if self.first.get() is None:
            self.first.set(row.value)
            self.clock.set_after(3_000)

    def on_timer(self, timer: Timer) -> Reminded:
        reminders.add(1, self.first.get())
        return Reminded(self.key, self.first.get() or 0)
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    (tmp_path / f"{unique}_nodes.py").write_text(_MODULE)
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _read(kafka: str, topic: str, count: int, quiet_s: float = 3) -> list[Any]:
    """Committed records: at least `count`, and whatever else comes until it is quiet."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await consumer.start()
        found: list[Any] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            batches = await consumer.getmany(timeout_ms=int(quiet_s * 1_000))
            found += [record for records in batches.values() for record in records]
            if not batches and len(found) >= count:
                break
        await consumer.stop()
        return found

    return asyncio.run(read())


def _readings(sensors: list[str], time_ms: int) -> list[dict[str, Any]]:
    return [{"time": time_ms, "sensor": sensor, "value": 1.5} for sensor in sensors]


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_kill_between_setting_and_firing_loses_and_doubles_nothing(
    product: Product, kafka: str, tmp_path: Path, disk: str
) -> None:
    sensors, later = [f"s{i}" for i in range(30)], [f"t{i}" for i in range(30)]
    product.start(0)
    token = product.publish(_readings(sensors, 60_000))["token"]
    rows = product.query("silence", after=token, limit=100).json()["rows"]
    assert {row["key"]: row["value"] for row in rows} == {sensor: {"last": 60_000} for sensor in sensors}
    assert product.stop(0, signal.SIGKILL) != 0
    if disk == "lost":
        shutil.rmtree(tmp_path / "state-0")
    product.start(0)
    product.publish(_readings(sensors, 60_000))  # once more: duplicates of what the dead worker let through
    product.publish(_readings(later, 60_000 + 600_000))
    found = [json.loads(record.value) for record in _read(kafka, f"{product.name}.silent", 30)]
    assert Counter(row["sensor"] for row in found) == Counter(sensors)
    assert {row["since"] for row in found} == {60_000}
    reminded = [json.loads(record.value)["sensor"] for record in _read(kafka, f"{product.name}.reminded", 60)]
    assert Counter(reminded) == Counter(sensors + later)
    passed = [json.loads(record.value)["sensor"] for record in _read(kafka, f"{product.name}.passed", 60)]
    assert Counter(passed) == Counter(sensors + later)
    product.publish([{"time": 660_000, "sensor": "s1", "value": -1.0}])
    (letter,) = _read(kafka, f"{product.name}.dead_letters", 1)
    headers = {name: value.decode() for name, value in letter.headers}
    assert (headers["sf-node"], headers["sf-reason"]) == ("reminder", "process")
    assert f"ValueError: below zero ({product.name}_nodes.py:" in headers["sf-error"]
    shown = product.client().get("/metrics").text.splitlines()
    mine = [line for line in shown if line.startswith("streamflow_user_reminders_total")]
    (number,) = (float(line.removeprefix(f"{line.split('}')[0]}}} ")) for line in mine)
    assert f'first="1.5",topology="{product.name}"' in mine[0] or f'topology="{product.name}",first="1.5"' in mine[0]
    assert 30 <= number <= 60, "this worker's, not the dead one's"
    assert product.stop(0) == 0
