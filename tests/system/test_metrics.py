"""Metrics of several workers together say what is, once."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique)
    yield made
    for worker in made.workers.values():
        worker.kill()
        worker.wait()


def _tasks(product: Product, number: int, metric: str) -> set[tuple[str, str]]:
    text = product.client(number).get("/metrics").text
    found = re.findall(rf'^{metric}{{partition="(\d+)",stage="([^"]+)"', text, re.MULTILINE)
    return {(stage, partition) for partition, stage in found}


def test_a_task_that_moves_takes_its_gauges_along(product: Product) -> None:
    product.start(0)
    before = _tasks(product, 0, "streamflow_lag_records")
    assert len(before) == 6
    product.start(1)
    deadline = time.monotonic() + 30
    while len(_tasks(product, 1, "streamflow_lag_records")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    product.wait_ready(0)
    for metric in ("streamflow_lag_records", "streamflow_restore_ratio", "streamflow_state_bytes"):
        first, second = (_tasks(product, number, metric) for number in (0, 1))
        assert first.isdisjoint(second), metric
        assert first | second == before
