"""Levels of a source on a real Kafka: what is urgent goes before a backlog, through calls too, and once."""

import json
import signal
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
  asked:  {{kind: python, input: sales, call: "tests.calls.functions:placed", concurrency: 50}}
  found:  {{kind: sink, input: asked, topic: {name}.found}}
  totals: {{kind: window, input: sales, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}, late: {name}.late}}
  sums:   {{kind: sink, input: totals, topic: {name}.sums}}
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
    rows = [json.loads(record.value)["number"] for record in _read(kafka, f"{product.name}.{topic}", len(numbers), 1)]
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
    urgent = product.client().post(
        path, params={"priority": "urgent"}, content=json.dumps(_sales(range(_BACKLOG, _BACKLOG + 1), 5_000))
    )
    assert urgent.json()["accepted"] == 1
    _order(product, "resume", "let it go")
    time.sleep(0.05)
    assert product.stop(0, signal.SIGKILL) != 0
    product.start(0)
    numbers = list(range(_BACKLOG + 1))
    for topic in ("out", "found"):
        rows = _end(product, numbers, kafka, topic)
        assert rows.index(_BACKLOG) < _BACKLOG // 2, topic
        assert [number for number in rows if number != _BACKLOG] == numbers[:-1], "their own order"
    product.publish(_sales(range(_BACKLOG + 1, _BACKLOG + 2), 9_000))  # time moves on; a silent level does not hold it
    sums = [json.loads(record.value) for record in _read(kafka, f"{product.name}.sums", 4, 1)]
    assert sum(row["n"] for row in sums) == _BACKLOG + 1
    assert _read(kafka, f"{product.name}.late", 0, 1) == []
    metrics = product.client().get("/metrics").text.splitlines()
    lags = [line for line in metrics if line.startswith("streamflow_level_lag_records{")]
    assert any(
        f'level="urgent",node="sales",partition="0",stage="sales",topology="{product.name}"}} 0.0' in line
        for line in lags
    )
