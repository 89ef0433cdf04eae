"""Processing time on a real Kafka: windows by the broker's clock, which close without another event."""

import json
import time
from pathlib import Path

import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Click: {{user: str}}}}
nodes:
  clicks: {{kind: source, topic: {name}.clicks, schema: Click, key: user, time: processing, partitions: 2, idle_after: 500ms}}
  rate:   {{kind: window, input: clicks, window: {{type: tumbling, size: 2s}}, aggregate: {{n: count()}}}}
"""


def test_a_window_closes_by_the_clock_and_a_restart_changes_nothing(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(kafka, tmp_path, unique, _TOPOLOGY)
    try:
        product.start(0)
        before = time.time() * 1_000
        events = json.dumps([{"user": f"u{n % 7}"} for n in range(70)])
        token = product.client().post(f"/v1/topics/{unique}.clicks/events", content=events).json()["token"]
        after = time.time() * 1_000
        rows = product.query("rate", after=token).json()["rows"]
        assert sum(row["value"]["n"] for row in rows) == 70
        assert all(before - 2_000 < row["start"] <= after for row in rows)
        deadline = time.monotonic() + 60
        while not all(row["final"] for row in product.query("rate").json()["rows"]):
            assert time.monotonic() < deadline, "it has to close without another event"
            time.sleep(0.1)
        path = f"/v1/topologies/{unique}/tables/rate/why"
        why = product.client().get(path, params={"key": "u1", "window": rows[0]["start"]}).json()
        assert why["status"] in ("closed", "never_existed")
        product.stop(0)
        product.start(0)
        assert product.query("rate").json()["rows"] == [{**row, "final": True} for row in rows]
    finally:
        product.kill()
