"""Aggregates with objects in their state on a real Kafka: killed, restored from the changelog, queried."""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
from streamflow.topology.builder import Builder
from streamflow.windows.aggregates import OwnAggregate, register


@register
class Spread(OwnAggregate):
    name, arguments, result_type, bytes_max = "spread", ("int",), "int", 11

    def init(self):
        return []

    def add(self, state, value):
        return [min([value, *state]), max([value, *state])]

    def merge(self, state, other):
        both = state + other
        return [min(both), max(both)] if both else []

    def result(self, state):
        return state[1] - state[0]


made = Builder("NAME")
made.schema("Sale", time="timestamp", shop="str", user="str", amount="int")
sales = made.source("sales", topic="NAME.sales", schema="Sale", event_time="time", key="shop", partitions=2)
sales.window(
    "day",
    window={"type": "sliding", "size": "2h", "slide": "1h"},
    aggregate={
        "users": "distinct_count(user)", "p90": "percentile(amount, 90)", "median": "median(amount)",
        "best": "top_k(user, 3)", "earliest": "collect(amount, 5)", "latest": "last(user)", "range": "spread(amount)",
        "deviation": "stddev(amount)",
    },
).sink("out", topic="NAME.out")
topology = made.build()
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    """Workers of a topology written in Python."""
    made = Product(kafka, tmp_path, unique)
    (tmp_path / "topology.yaml").unlink()
    (tmp_path / "topology.py").write_text(_TOPOLOGY.replace("NAME", unique))
    yield made
    made.kill()


def _sales(count: int) -> list[dict[str, Any]]:
    """Of one shop, within the second hour; some users buy far more often than others."""
    chance = random.Random(7)
    users = [f"user-{int(chance.paretovariate(0.5)) % 5_000}" for _ in range(count)]
    return [
        {"time": 3_600_000 + number, "shop": "a", "user": user, "amount": chance.randrange(10**6)}
        for number, user in enumerate(users)
    ]


def _publish(product: Product, sales: list[dict[str, Any]]) -> str:
    """In requests as large as they may be; the token of the last one stands for all, they share a partition."""
    answers = [product.publish(sales[start : start + 1_000]) for start in range(0, len(sales), 1_000)]
    return str(answers[-1]["token"])


def test_sketches_survive_a_kill_and_the_loss_of_the_disk(product: Product, tmp_path: Path) -> None:
    """What was committed is restored from the changelog, and what comes after is added to it."""
    sales = _sales(6_000)
    product.start(0)
    product.query("day", after=_publish(product, sales[:4_000]), key="a")
    product.stop(0, signal.SIGKILL)
    shutil.rmtree(tmp_path / "state-0")
    product.start(0)
    rows = product.query("day", after=_publish(product, sales[4_000:]), key="a").json()["rows"]
    assert [row["start"] for row in rows] == [0, 3_600_000]
    amounts, users = sorted(sale["amount"] for sale in sales), Counter(sale["user"] for sale in sales)
    for value in (row["value"] for row in rows):
        assert value["range"] == amounts[-1] - amounts[0]
        assert value["latest"] == sales[-1]["user"]
        assert value["earliest"] == {"values": [sale["amount"] for sale in sales[:5]], "left_out": 5_995}
        assert abs(value["users"] - len(users)) <= 0.0497 * len(users)
        for name, p in (("p90", 90), ("median", 50)):
            assert abs(amounts.index(value[name]) / 6_000 - p / 100) <= 0.0136
        assert [row["value"] for row in value["best"]] == [user for user, _ in users.most_common(3)]
        assert all(row["count"] - row["error"] <= users[row["value"]] <= row["count"] for row in value["best"])


def test_a_state_beyond_its_bound_ends_the_worker_with_its_name(product: Product, tmp_path: Path) -> None:
    """Two integers of nine bytes do not fit into eleven; the changelog has no row of them."""
    product.start(0)
    sale = _sales(1)[0]
    with suppress(httpx.TransportError):  # the worker may be gone before it has answered
        product.publish([sale | {"amount": 2**40}, sale | {"amount": 2**41}])
    assert product.workers.pop(0).wait(60) != 0
    log = (tmp_path / "worker-0.log").read_text()
    assert "the state of aggregate 'spread' takes 19 bytes, its bytes_max is 11: bound what it keeps" in log
