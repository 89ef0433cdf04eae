"""Metrics of several workers together say what is, once."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_worker import Product, _sale

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique)
    yield made
    made.kill()


def _tasks(product: Product, number: int, metric: str) -> set[tuple[str, str]]:
    text = product.client(number).get("/metrics").text
    found = re.findall(rf'^{metric}{{partition="(\d+)",stage="([^"]+)"', text, re.MULTILINE)
    return {(stage, partition) for partition, stage in found}


def test_a_task_that_moves_takes_its_gauges_along(product: Product) -> None:
    product.start(0)
    before = _tasks(product, 0, "streamflow_lag_records")
    assert len(before) == 6
    product.start(1)
    deadline = time.monotonic() + 60
    while len(_tasks(product, 1, "streamflow_lag_records")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    product.wait_ready(0)
    for metric in ("streamflow_lag_records", "streamflow_restore_ratio", "streamflow_state_bytes"):
        first, second = (_tasks(product, number, metric) for number in (0, 1))
        assert first.isdisjoint(second), metric
        assert first | second == before


def _command(product: Product, number: int, *arguments: str) -> Any:
    url = f"http://127.0.0.1:{product.ports[number]}"
    command = [sys.executable, "-m", "streamflow", *arguments, "--url", url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_top_and_profile_of_workers_that_work(product: Product, tmp_path: Path) -> None:
    for number in (0, 1):
        product.start(number)
    over = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        published = pool.submit(_publish_until, product, over)
        try:
            top = _command(product, 1, "top", "--every", "3")
            picture = tmp_path / "flames.svg"
            profile = _command(product, 0, "profile", "--seconds", "3", "--out", str(picture))
            statuses = list(pool.map(partial(_profile_status, product), (4, 4)))
        finally:
            over.set()
        assert sorted(statuses) == [200, 409], "one at a time"
        assert published.result() > 0
    stages = {row["stage"]: row for row in top["stages"]}
    assert {name: (row["tasks"], row["running"]) for name, row in stages.items()} == {
        "sales": (3, 3),
        "by_city": (3, 3),
    }
    assert stages["sales"]["records_per_s"] > 0
    nodes = {row["node"]: row for row in top["nodes"]}
    assert set(nodes) >= {"sales", "known", "seen", "totals"}
    assert (nodes["known"]["reduction"], nodes["seen"]["reduction"]) == (0.0, 0.0)
    assert all(nodes[name]["latency_us"] > 0 for name in ("sales", "known", "seen"))
    node = f'{{node="known",stage="sales",topology="{product.name}"}}'
    scraped = dict(
        line.rsplit(" ", 1) for line in product.client(0).get("/metrics").text.splitlines() if "#" not in line
    )
    assert float(scraped[f"streamflow_node_reduction_ratio{node}"]) == 0
    assert float(scraped[f"streamflow_node_latency_seconds{node}"]) > 0
    assert sum(row["tasks"] for row in top["workers"]) == 6
    assert len(top["workers"]) == 2
    assert top["silent"] == []
    assert {row["stage"] for row in profile["nodes"]} <= {"sales", "by_city"}
    used_us = sum(row["us"] for row in profile["threads"])
    assert used_us > 0
    assert sum(stack["us"] for stack in profile["stacks"]) == pytest.approx(used_us, rel=0.05)
    assert "thread MainThread" in picture.read_text()


def _profile_status(product: Product, seconds: float) -> int:
    with product.client(0) as client:
        return client.get("/v1/profile", params={"seconds": seconds}).status_code


def _publish_until(product: Product, over: threading.Event) -> int:
    count = 0
    while not over.is_set():
        product.publish([_sale(1_000 + number, shop=f"s{number % 9}") for number in range(500)])
        count += 500
    return count
