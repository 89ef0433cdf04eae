"""Two regions, each with a Kafka and a worker of its own, and mirrors between them that are killed."""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.mirror_log import MIRRORED, behind_last_copy, born_at, copies, has_others, translate
from streamflow.settings.settings import load_settings
from tests.ports import free_port
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_PARTITIONS = 3
_FIELDS = ("key", "value", "timestamp_ms")


@pytest.fixture
def other_kafka(tmp_path: Path) -> Iterator[str]:
    broker = EmbeddedBroker.start(tmp_path / "kafka-us")
    yield broker.bootstrap
    broker.stop()


class Mirror:
    """A mirror as a process, which may be killed. `route`: (origin, source, target)."""

    def __init__(self, folder: Path, origin: str, source: str, target: str) -> None:
        self._arguments = [str(folder), "--origin", origin, "--source", source, "--brokers", target]
        self._log, self.port = folder / f"mirror-{origin}.log", free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "streamflow", "mirror", "run", *self._arguments, "--port", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=os.environ, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def status(self) -> tuple[int, list[dict[str, Any]]]:
        command = [sys.executable, "-m", "streamflow", "mirror", "status", *self._arguments, "--within", "0", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def lags(self) -> list[float]:
        """As the metrics have them; none while it starts."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text
        except httpx.TransportError:
            return []
        assert text.count("streamflow_mirror_behind_seconds{") == text.count("streamflow_mirror_copied_records{")
        return [float(value) for value in re.findall(r"^streamflow_mirror_lag_records{.*} (.*)$", text, re.MULTILINE)]


def _sale(number: int, region: str) -> bytes:
    row = {"time": 1_000 + number % 900, "shop": f"{region}-{number % 7}", "city": f"c{number % 5}", "amount": number}
    return json.dumps(row).encode()


async def _publish(kafka: str, topic: str, region: str, numbers: range) -> None:
    """Some in transactions that are committed or not, some alone with headers, some with times of their own."""
    chance, hour_ago_ms = random.Random(numbers.start), int(time.time() * 1_000) - 3_600_000
    plain = AIOKafkaProducer(bootstrap_servers=kafka)
    atomic = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic}-{region}")
    await asyncio.gather(plain.start(), atomic.start())
    async with asyncio.timeout(120):
        for start in range(numbers.start, numbers.stop, 50):
            part = range(start, min(start + 50, numbers.stop))
            how = chance.choice(["plain", "plain", "committed", "aborted"])
            producer = plain if how == "plain" else atomic
            if how != "plain":
                await producer.begin_transaction()
            sends = [
                await producer.send(
                    topic,
                    _sale(number, region),
                    key=f"{region}-{number % 7}".encode(),
                    partition=number % 7 % _PARTITIONS,
                    timestamp_ms=hour_ago_ms + number if number % 3 else None,
                    headers=[("number", str(number).encode())] if number % 10 == 0 else [],
                )
                for number in part
            ]
            await asyncio.gather(*sends)
            if how == "committed":
                await producer.commit_transaction()
            elif how == "aborted":
                await producer.abort_transaction()
    await asyncio.gather(plain.stop(), atomic.stop())


async def _records(kafka: str, topic: str, origin: str) -> dict[tuple[int, bool], list[tuple[Any, ...]]]:
    """By partition and whether they were born elsewhere: (offset at birth, key, value, time, headers)."""
    found: dict[tuple[int, bool], list[tuple[Any, ...]]] = {}
    for partition in range(_PARTITIONS):
        async with CommittedLog(load_settings(brokers=kafka), topic, partition) as log:
            async for record in log.records():
                born = [value.decode() for name, value in record.headers if name == MIRRORED]
                assert len(born) < 2, "copied twice"
                headers = tuple(each for each in record.headers if each[0] != MIRRORED)
                offset = record.offset
                if born:
                    assert born[0].startswith(f"{origin}/")
                    offset = int(born[0].partition("/")[2])
                row = (offset, *(getattr(record, field) for field in _FIELDS), headers)
                found.setdefault((partition, bool(born)), []).append(row)
    return found


def _until_copying(mirror: Mirror) -> None:
    deadline = time.monotonic() + 60
    while not mirror.lags():
        assert time.monotonic() < deadline, "the mirror has not begun"
        time.sleep(0.1)


def _until_level(mirror: Mirror) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        lags = mirror.lags()
        if lags == [0.0] * _PARTITIONS:  # as of its last look
            code, found = mirror.status()
            if code == 0:
                return found
        assert time.monotonic() < deadline, lags
        time.sleep(0.1)


def _totals(product: Product) -> list[Any]:
    rows = product.query("totals", limit=1000).json()["rows"]
    return sorted((row["key"], row["start"], row["value"]["n"], row["value"]["total"]) for row in rows)


def test_what_is_published_in_one_region_is_once_in_both_and_so_are_the_results(
    kafka: str, other_kafka: str, tmp_path: Path, unique: str
) -> None:
    topic = f"{unique}.sales"
    regions, began = {"eu": kafka, "us": other_kafka}, time.time()
    products = {}
    for region, brokers in regions.items():
        (tmp_path / region).mkdir()
        products[region] = Product(brokers, tmp_path / region, unique)
        products[region].launch(0)
    mirrors = {
        "eu": Mirror(tmp_path / "us", "eu", kafka, other_kafka),
        "us": Mirror(tmp_path / "eu", "us", other_kafka, kafka),
    }
    try:
        for product in products.values():
            product.wait_ready(0)
        for mirror in mirrors.values():
            mirror.start()
        settings = load_settings(brokers=other_kafka)
        for start in range(0, 3_000, 1_000):
            if start:
                _until_copying(mirrors["eu"])
            asyncio.run(_publish(kafka, topic, "eu", range(start, start + 1_000)))
            asyncio.run(_publish(other_kafka, topic, "us", range(start, start + 200)))
            if start:  # in the middle of it
                mirrors["eu"].kill()
                mirrors["eu"].start()
        levels = {origin: _until_level(mirror) for origin, mirror in mirrors.items()}
        assert {(each["topic"], each["partition"], each["lag"]) for each in levels["eu"]} == {
            (topic, partition, 0) for partition in range(_PARTITIONS)
        }
        europe, america = (
            asyncio.run(_records(regions[here], topic, there)) for here, there in (("eu", "us"), ("us", "eu"))
        )
        for partition in range(_PARTITIONS):
            assert len(europe[partition, False]) > 100
            assert america[partition, True] == europe[partition, False], "not the same, not in order, or not once"
            assert europe[partition, True] == america[partition, False]
        tables = {region: _totals(product) for region, product in products.items()}
        deadline = time.monotonic() + 60
        expected = sum(len(rows) for rows in europe.values())
        while any(sum(row[2] for row in rows) != expected for rows in tables.values()) and time.monotonic() < deadline:
            tables = {region: _totals(product) for region, product in products.items()}
        assert tables["eu"] == tables["us"]
        assert sum(row[2] for row in tables["eu"]) == expected
        asyncio.run(_check_positions(settings, topic, europe[0, False], began))
    finally:
        for mirror in mirrors.values():
            mirror.kill()
        for product in products.values():
            product.kill()


async def _check_positions(settings: Any, topic: str, born: list[tuple[Any, ...]], began: float) -> None:
    """An offset of the origin is found here, and where to go on when the broker has forgotten the positions."""
    from aiokafka.structs import TopicPartition

    place = TopicPartition(topic, 0)
    committed = (await committed_offsets(settings, f"{settings.application}.mirror.eu", [place]))[place]
    assert began < float(committed.metadata) < time.time(), "until when all was here, for the mirror that is next"
    assert await behind_last_copy(settings, "eu", place) == born[-1][0] + 1
    assert await behind_last_copy(settings, "asia", TopicPartition(topic, 0)) == 0
    async with CommittedLog(settings, topic) as log:
        for row in (born[0], born[len(born) // 2], born[-1]):
            position = await translate(settings, "eu", topic, 0, row[0])
            async for record in log.records(position):
                if record.headers and record.headers[-1] == (MIRRORED, f"eu/{row[0]}".encode()):
                    break
                assert all(name != MIRRORED for name, _ in record.headers), "a copy of a smaller offset"
            else:
                raise AssertionError(row)
    assert await translate(settings, "eu", topic, 0, born[-1][0] + 1) > position
    wanted = frozenset(row[0] for row in born[3:900:7])
    here = await copies(settings, "eu", topic, 0, wanted | {born[-1][0] + 1})
    async with CommittedLog(settings, topic) as log:
        found = {record.offset: born_at(record, "eu") async for record in log.records()}
    assert here == {offset for offset, there in found.items() if there in wanted}
    assert await has_others(settings, "eu", topic, 0, position), "what was published here"
