"""Levels of a source on a real Kafka: what is urgent goes before a backlog, through calls too, and once."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.test_control import _order
from tests.system.test_timers import _read
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Sale: {{time: timestamp, city: str, number: int}}}}
nodes:
  sales:
    kind: source
    topic: {name}.sales
    schema: Sale
    event_time: time
    key: city
    partitions: 1
    idle_after: 3s
    priorities: {{urgent: 8}}
  out:    {{kind: sink, input: sales, topic: {name}.out}}
  asked:
    kind: python
    input: sales
    call: "tests.calls.functions:placed"
    with: {{wait_ms: 10}}
    concurrency: 50
    resilience: {{cache: {{size: 9}}}}
  found:  {{kind: sink, input: asked, topic: {name}.found}}
  totals: {{kind: window, input: sales, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}, late: {name}.late}}
  sums:   {{kind: sink, input: totals, topic: {name}.sums}}
  shares: {{kind: map, input: sales, set: {{number: 100 // (number % 2000)}}}}
  shared: {{kind: sink, input: shares, topic: {name}.shared}}
metrics: {{out: false, asked: true}}
"""
_BACKLOG = 10_000


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _sales(numbers: range, time_ms: int) -> list[dict[str, object]]:
    return [{"time": time_ms, "city": f"c{number % 3}", "number": number} for number in numbers]


def _end(product: Product, numbers: list[int], kafka: str, topic: str) -> list[int]:
    """Numbers in the order of a topic, all of them, each once."""
    rows = [json.loads(record.value)["number"] for record in _read(kafka, f"{product.name}.{topic}", len(numbers), 0.3)]
    assert Counter(rows) == Counter(numbers)
    return rows


def test_an_urgent_event_overtakes_a_backlog_and_nothing_is_lost_doubled_or_late(product: Product, kafka: str) -> None:
    product.start(0)
    path = f"/v1/topics/{product.name}.sales/events"
    refused = product.client().post(path, params={"priority": "urgnt"}, content=json.dumps(_sales(range(1), 0)))
    assert (refused.status_code, refused.json()["title"]) == (422, "unknown_priority")
    assert "did you mean 'urgent'?" in refused.json()["detail"]
    _order(product, "pause", "a backlog")
    for start in range(0, _BACKLOG, 1_000):
        product.publish(_sales(range(start, start + 1_000), 1_000))
    urgent = json.dumps(_sales(range(_BACKLOG, _BACKLOG + 1), 5_000)[0]).encode()
    command = [sys.executable, "-m", "streamflow", "publish", f"{product.name}.sales", "--priority", "urgent"]
    command += ["--url", f"http://127.0.0.1:{product.ports[0]}"]
    done = subprocess.run(command, input=urgent, capture_output=True, timeout=60)
    assert b"1 accepted, 0 rejected" in done.stdout, done.stderr
    _order(product, "resume", "let it go")
    numbers = list(range(_BACKLOG + 1))
    for topic in ("out", "found"):
        rows = _end(product, numbers, kafka, topic)
        # What is fetched first is worked off in some milliseconds; calls take two seconds.
        assert topic == "out" or rows.index(_BACKLOG) < _BACKLOG // 2
        assert [number for number in rows if number != _BACKLOG] == numbers[:-1], "their own order"
    product.publish(_sales(range(_BACKLOG + 1, _BACKLOG + 2), 9_000))  # time moves on; a silent level does not hold it
    sums = [json.loads(record.value) for record in _read(kafka, f"{product.name}.sums", 4, 0.3)]
    assert sum(row["n"] for row in sums) == _BACKLOG + 1
    assert _read(kafka, f"{product.name}.late", 0, 0.3) == []
    _check_figures(product)


def _figures(product: Product, node: str) -> dict[str, float]:
    """Series of a node, without their labels."""
    text = product.client().get("/metrics").text
    return {
        name: float(value) for name, value in re.findall(rf'^(\w+){{[^}}]*node="{node}"[^}}]*}} (\S+)$', text, re.M)
    }


def _check_figures(product: Product) -> None:
    """Figures of a node are those of what was published; one that is switched off has none."""
    before, asked = _figures(product, "shares"), _figures(product, "asked")
    began = time.time()
    good = range(_BACKLOG + 5_001, _BACKLOG + 5_011)
    product.publish([*_sales(good, 9_000), *_sales(range(12_000, 18_001, 2_000), 9_000)])
    product.publish(_sales(good[-1:], 9_000))
    deadline = time.monotonic() + 60
    while (after := _figures(product, "shares"))["streamflow_node_rows_in"] < before["streamflow_node_rows_in"] + 15:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for name, count in {"rows_in": 15, "rows_succeeded": 11, "rows_failed": 4, "rows_dead": 4}.items():
        assert after[f"streamflow_node_{name}"] - before[f"streamflow_node_{name}"] == count, name
    while _figures(product, "shares")["streamflow_node_last_execution_seconds"] < began:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert after["streamflow_node_latency_seconds"] > 0
    while (now := _figures(product, "asked"))["streamflow_calls_cache_hits"] < asked["streamflow_calls_cache_hits"] + 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert now["streamflow_calls_cache_misses"] >= asked["streamflow_calls_cache_misses"] + 14
    assert _figures(product, "out") == {}
    assert _figures(product, "sales")["streamflow_level_lag_records"] >= 0
