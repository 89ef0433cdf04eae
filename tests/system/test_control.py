"""Orders on a real Kafka: obeyed by all workers, kept over the death of all of them, without a row lost or late."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streamflow.bus.event import BusEvent
from streamflow.model.partitioner import partition_of
from tests.system.test_worker import _TOPOLOGY, Product, _sale

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    """Nobody is left out for being slow: the machine may be busy with other things for seconds."""
    topology = _TOPOLOGY.replace("idle_after: 500ms", "idle_after: 60s")
    made = Product(kafka, tmp_path, unique, f"{topology}error_budgets: {{{{sales: {{{{failures: 20, per: 10m}}}}}}}}\n")
    yield made
    made.kill()


def _command(product: Product, *arguments: str, number: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STREAMFLOW_URL": f"http://127.0.0.1:{product.ports[number]}"}
    command = [sys.executable, "-m", "streamflow", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)


def _order(product: Product, verb: str, reason: str, number: int = 0) -> dict[str, Any]:
    """Give an order and wait until all have obeyed."""
    path = f"/v1/topologies/{product.name}/{verb}?timeout_ms=15000"
    for _ in range(4):
        given = product.client(number).post(path, json={"actor": "ann", "reason": reason})
        if given.status_code == 200:
            break
    assert given.status_code == 200, given.text
    answer: dict[str, Any] = given.json()
    assert answer["waiting_for"] == []
    return answer


def _start_two(product: Product) -> None:
    for number in (0, 1):
        product.launch(number)
    for number in (0, 1):
        product.wait_ready(number)
    _until(lambda: sum(task["state"] in ("running", "paused") for task in _tasks(product, (0, 1))) == 6)


async def _spoil(kafka: str, topic: str, count: int) -> None:
    """Write events that nobody can read."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(topic, b"no sale %d" % number, partition=0)
    await producer.stop()


def _view(product: Product, number: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = product.client(number).get(f"/v1/topologies/{product.name}").json()
    return answer


def _tasks(product: Product, numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    return [task for number in numbers for task in _view(product, number)["tasks"]]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _counts(product: Product, table: str, field: str, number: int = 0) -> Counter[str]:
    rows = product.query(table, number, limit=1000).json()["rows"]
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["key"]] += row["value"][field]
    return counts


class Shops:
    """Sales of 40 shops in 7 cities, and how many of each were published."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self.shops: Counter[str] = Counter()
        self.cities: Counter[str] = Counter()

    def sell(self, times: list[int], partitions: Collection[int] = (0, 1, 2)) -> None:
        """At each time one of every shop whose partition of the source is one of these."""
        shops = [shop for shop in range(40) if partition_of(b"s%d" % shop, 3) in partitions]
        events = [_sale(at, f"s{shop}", f"c{shop % 7}") for at in times for shop in shops]
        for start in range(0, len(events), 1_000):
            assert self._product.publish(events[start : start + 1_000])["rejected"] == []
        self.shops.update(event["shop"] for event in events)
        self.cities.update(event["city"] for event in events)

    def are_counted(self) -> bool:
        seen, totals = _counts(self._product, "seen", "count"), _counts(self._product, "totals", "n")
        return seen == self.shops and totals == self.cities


def _moves(kafka: str, subject: str, kind: str = "TOPOLOGY_STATE_CHANGED") -> list[tuple[str, str, str, str]]:
    """What the bus says that a topology, or a node, became: (old, new, actor, reason)."""

    async def read() -> list[BusEvent]:
        consumer = AIOKafkaConsumer(
            "streamflow.events",
            bootstrap_servers=kafka,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        await consumer.start()
        events: list[BusEvent] = []
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            found = await consumer.getmany(timeout_ms=1_000)
            events += [BusEvent.decode(record.value) for records in found.values() for record in records]
        await consumer.stop()
        return events

    changes = [each for each in asyncio.run(read()) if each.subject == subject and each.type == kind]
    changes.sort(key=lambda each: each.time)
    return [(each.data["old"], each.data["new"], each.actor, each.data["reason"]) for each in changes]


def test_a_pause_holds_everything_even_when_all_workers_die(product: Product, kafka: str) -> None:
    shops = Shops(product)
    _start_two(product)
    shops.sell(list(range(1_000, 1_200, 20)))
    _until(shops.are_counted)
    done = _command(product, "pause", product.name, "--reason", "a repair", "--actor", "ann", "--json")
    assert done.returncode == 0, done.stderr
    paused = json.loads(done.stdout)
    assert (paused["state"], paused["version"], paused["actor"], paused["reason"]) == ("paused", 1, "ann", "a repair")
    before = {(task["stage"], task["partition"]): task["watermark"] for task in _tasks(product, (0, 1))}
    # Only one partition gets events: those of the others, which are as old, must not find their windows closed.
    shops.sell(list(range(1_200, 9_000, 200)), (1,))
    for number in (0, 1):
        view, client = _view(product, number), product.client(number)
        assert (view["state"], {task["state"] for task in view["tasks"]}) == ("paused", {"paused"})
        assert client.get("/readyz").json()["state"] == "paused"
        assert client.get("/healthz").status_code == 200
    _until(lambda: sum(task["lag"] or 0 for task in _tasks(product, (0, 1))) >= 39)
    assert {(task["stage"], task["partition"]): task["watermark"] for task in _tasks(product, (0, 1))} == before
    assert not shops.are_counted()
    why = product.client().get(f"/v1/topologies/{product.name}/tables/totals/why", params={"key": "c1"}).json()
    assert why["sentences"][0].startswith(f"{product.name} is paused")
    assert "a repair" in why["sentences"][0]

    for number in (0, 1):
        product.stop(number, signal.SIGKILL)
    _start_two(product)
    _until(lambda: {task["state"] for task in _tasks(product, (0, 1))} == {"paused"})
    assert {(task["stage"], task["partition"]): task["watermark"] for task in _tasks(product, (0, 1))} == before
    shops.sell(list(range(1_210, 9_000, 200)), (0, 2))
    assert _order(product, "resume", "repaired", number=1)["state"] == "running"
    _until(shops.are_counted)
    late = [node["late"] for task in _tasks(product, (0, 1)) for node in task["nodes"].values()]
    assert sum(late) == 0
    moves = [("running", "paused", "ann", "a repair"), ("paused", "running", "ann", "repaired")]
    _until(lambda: _moves(kafka, product.name) == moves)

    # More dead letters than the error budget of the source allows: paused until somebody has looked.
    asyncio.run(_spoil(kafka, f"{product.name}.sales", 20))
    _until(lambda: sum(task["nodes"].get("sales", {}).get("dead", 0) for task in _tasks(product, (0, 1))) == 20)
    assert _view(product)["state"] == "running"
    asyncio.run(_spoil(kafka, f"{product.name}.sales", 1))
    _until(lambda: _view(product)["state"] == "paused")
    control = _view(product)["control"]
    assert control["actor"] == "error budget"
    assert control["reason"].startswith("node sales made 21 dead letters of ")
    assert "rows within 10m, 20 are allowed; look at them (`streamflow dlq`)" in control["reason"]
    shops.sell([9_100])
    assert not shops.are_counted()
    assert _order(product, "resume", "mended")["state"] == "running"
    _until(shops.are_counted)
    moves += [("running", "paused", control["actor"], control["reason"]), ("paused", "running", "ann", "mended")]
    _until(lambda: _moves(kafka, product.name) == moves)
    assert _moves(kafka, f"{product.name}/totals", "NODE_STATE_CHANGED") == moves


def test_a_stop_leaves_nothing_between_the_stages_and_a_cancel_says_why(product: Product) -> None:
    shops = Shops(product)
    _start_two(product)
    shops.sell(list(range(1_000, 1_300)))
    stopped = _order(product, "stop", "the day is over")
    assert (stopped["state"], stopped["run"]) == ("completed", 1)
    # What the sources' tasks took in is behind the repartition, all of it: the rest was not read.
    by_shop, by_city = _counts(product, "seen", "count"), _counts(product, "totals", "n")
    expected: Counter[str] = Counter()
    for shop, count in by_shop.items():
        expected[f"c{int(shop[1:]) % 7}"] += count
    assert by_city == expected
    product.stop(1)
    product.start(1)
    refused = _command(product, "pause", product.name, number=1)
    assert refused.returncode == 1
    assert "completed is final" in refused.stderr
    assert _counts(product, "seen", "count") == by_shop, "a worker that starts later obeys too"
    assert _order(product, "resume", "a new day", number=1)["run"] == 2
    _until(shops.are_counted)

    cancelled = _order(product, "cancel", "wrong prices")
    assert (cancelled["state"], cancelled["wish"]) == ("cancelled", "cancel")
    shops.sell([1_600])
    shown = _command(product, "state", product.name, number=1)
    assert "is cancelled, run 2; cancel ordered by ann" in shown.stdout
    assert shown.stdout.rstrip().endswith("wrong prices")
    assert not shops.are_counted()
    # Two that order at once: one after the other, each knowing the one before.
    path = f"/v1/topologies/{product.name}"
    with ThreadPoolExecutor(6) as pool:
        verbs = [(place % 2, verb) for place, verb in enumerate(["resume", "pause"] * 3)]
        answers = list(pool.map(lambda each: product.client(each[0]).post(f"{path}/{each[1]}"), verbs))
    assert {answer.status_code for answer in answers} <= {200, 202, 409}, [answer.text for answer in answers]
    _order(product, "resume", "the last word")
    _until(shops.are_counted)
    _until(lambda: len({_view(product, number)["control"]["version"] for number in (0, 1)}) == 1)
