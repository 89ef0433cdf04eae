"""Polling on a real Kafka: 500 pollers on two workers, one of which is killed."""

import asyncio
import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from tests.calls.server import Server, serving
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_POLLERS, _EVERY_MS = 500, 2_000
_TOPOLOGY = """
topology: {{name}}
schemas: {{{{Poll: {{{{at: timestamp, number: int}}}}}}}}
nodes:
  polls:
    kind: source
    topic: {{name}}.polls
    schema: Poll
    event_time: at
    key: number
    partitions: 2
    timer: {{{{every: 2s, rows: [{rows}]}}}}
  asked:
    kind: http_request
    input: polls
    url: "{url}/ok/{{{{number}}}}"
    response: {{{{double: int}}}}
    concurrency: 500
    resilience: {{{{timeout: 5s, expires: 30s}}}}
  out:    {{{{kind: sink, input: asked, topic: {{name}}.out}}}}
  called: {{{{kind: python, input: polls, call: "tests.calls.functions:dawdling", concurrency: 500}}}}
  told:   {{{{kind: sink, input: called, topic: {{name}}.told}}}}
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str, server: Server) -> Iterator[Product]:
    rows = ", ".join(f"{{{{number: {number}}}}}" for number in range(_POLLERS))
    made = Product(kafka, tmp_path, unique, _TOPOLOGY.format(url=server.url, rows=rows))
    yield made
    made.kill()


def _rows(kafka: str, topic: str, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Results from the first on until there are enough: there is never quiet."""

    async def read() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        ) as consumer:
            async with asyncio.timeout(120):
                while not enough(rows):
                    batches = await consumer.getmany(timeout_ms=500)
                    rows += [json.loads(record.value) for records in batches.values() for record in records]
        return rows

    return asyncio.run(read())


def _moments(rows: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Moments of the answers, by poller."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        found[row["number"]].append(row["at"])
    return found


def _each_has(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    def holds(rows: list[dict[str, Any]]) -> bool:
        found = _moments(rows)
        return len(found) == _POLLERS and min(map(len, found.values())) >= count

    return holds


def test_500_pollers_move_when_a_worker_dies_and_each_moment_is_there_once(
    product: Product, kafka: str, server: Server
) -> None:
    environment = {"STREAMFLOW_OUTBOUND_NETWORKS": "127.0.0.0/8"}
    product.start(0, **environment)
    product.start(1, **environment)
    before = _moments(_rows(kafka, f"{product.name}.out", _each_has(1)))
    assert len(os.listdir(f"/proc/{product.workers[0].pid}/task")) < 100, "no thread each"
    assert product.stop(0, signal.SIGKILL) != 0
    after = _moments(_rows(kafka, f"{product.name}.out", _each_has(max(map(len, before.values())) + 1)))
    for number, moments in after.items():
        assert len(set(moments)) == len(moments), "a moment is in the results once"
        assert moments == sorted(moments)
        offset_ms = _EVERY_MS * number // _POLLERS
        assert {(moment - offset_ms) % _EVERY_MS for moment in moments} == {0}
    _rows(kafka, f"{product.name}.told", lambda rows: {row["number"] for row in rows} == set(range(_POLLERS)))
    metrics = product.client(1).get("/metrics").text
    assert f'streamflow_timer_published{{node="polls",topology="{product.name}"}}' in metrics
    server.slow_s = 30.0
    assert product.stop(1) == 0, "it does not wait for whoever hangs"
