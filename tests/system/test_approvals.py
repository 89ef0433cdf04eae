"""Approvals on a real Kafka: asked at any worker, decided by HTTP and by hand, with all workers killed in between."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str?, amount: int}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, idle_after: 60s,
            execution_id: amount}}
  by_city: {{kind: key_by, input: sales, key: city}}
  gate:    {{kind: approval, input: by_city, quorum: 2, approvers: [ann, bob, cyd]}}
  good:    {{kind: sink, input: gate.approved, topic: {name}.good}}
  bad:     {{kind: sink, input: gate.rejected, topic: {name}.bad}}
"""


_CANCELLED = {"time": 81, "shop": "s9", "city": "c9", "amount": 81}


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _start_two(product: Product) -> None:
    for number in (0, 1):
        product.launch(number)
    for number in (0, 1):
        product.wait_ready(number)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _client(product: Product, number: int) -> httpx.Client:
    """One per worker's address: making one takes longer than asking."""
    return _clients.setdefault(product.ports[number], product.client(number))


_clients: dict[int, httpx.Client] = {}


def _waiting(product: Product, number: int) -> dict[int, dict[str, Any]]:
    """What waits, by amount."""
    deadline = time.monotonic() + 60
    while True:
        answer = _client(product, number).get(f"/v1/topologies/{product.name}/approvals", params={"limit": 1_000})
        if answer.status_code == 200:
            return {each["row"]["amount"]: each for each in answer.json()["approvals"]}
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _say(product: Product, number: int, approval: str, decision: str, actor: str, **more: Any) -> httpx.Response:
    path = f"/v1/topologies/{product.name}/approvals/{approval}/decide"
    wait = more.pop("wait", True)
    return _client(product, number).post(
        path, params={"wait": wait}, json={"decision": decision, "actor": actor, **more}
    )


def _read(kafka: str, *topics: str) -> dict[str, list[int]]:
    """Amounts of committed rows by topic."""

    async def act() -> dict[str, list[int]]:
        consumer = AIOKafkaConsumer(
            *topics, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await consumer.start()
        found: dict[str, list[int]] = {topic: [] for topic in topics}
        while batch := await consumer.getmany(timeout_ms=1_500):
            for tp, records in batch.items():
                found[tp.topic] += [json.loads(record.value)["amount"] for record in records]
        await consumer.stop()
        return found

    return asyncio.run(act())


def _check_executions(product: Product, kafka: str) -> None:
    """Every sale was one execution, from one worker to the next; the command line rebuilds the same from the log."""
    asked = _client(product, 0).get("/v1/executions", params={"topology": product.name, "limit": 1_000}).json()
    rows = {row["id"]: row for row in asked["executions"]}
    assert rows.pop("81")["state"] == "cancelled"
    assert rows.keys() == {str(number) for number in range(80)}
    ends = Counter((row["state"], row["totals"]["rows"], row["refused"], row["attempt"]) for row in rows.values())
    assert ends == {("completed", 1, 0, 1): 80}
    environment = {**os.environ, "STREAMFLOW_URL": f"http://127.0.0.1:{product.ports[1]}", "STREAMFLOW_BROKERS": kafka}
    commands = (["executions", "show", "7"], ["audit", "rebuild", "--executions", "--upto", asked["upto"]])
    shown, rebuilt = (
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "streamflow", *command, "--json"],
                env=environment,
                capture_output=True,
                check=True,
                timeout=90,
            ).stdout
        )
        for command in commands
    )
    gate = next(node for node in shown["nodes"] if node["node"] == "gate")
    assert [state for state, _ in gate["moves"]] == ["pending", "queued", "running", "paused", "running", "completed"]
    assert shown == rebuilt["rows"]["7"]


def _cancel_one(product: Product) -> None:
    """One execution that waits, at another worker than is asked perhaps."""
    product.publish([_CANCELLED])
    _until(lambda: 81 in _waiting(product, 0))
    said, wait = {"actor": "ann", "reason": "by mistake"}, {"timeout_ms": 30_000}
    done = _client(product, 1).post("/v1/executions/81/cancel", json=said, params=wait)
    assert (done.status_code, done.json()) == (200, {"id": "81", "state": "cancelled"})
    assert 81 not in _waiting(product, 1)


def _is_still_cancelled(product: Product) -> None:
    """What comes under the id again, after all workers were killed, is not worked on."""
    product.publish([_CANCELLED])

    def shown() -> dict[str, Any]:
        return dict(_client(product, 0).get("/v1/executions/81").json())

    _until(lambda: (shown().get("state"), shown().get("attempt")) == ("cancelled", 2))
    assert (shown()["reason"], _waiting(product, 0)) == ("by mistake", {})


def test_decisions_take_effect_once_whatever_dies(product: Product, kafka: str) -> None:
    _start_two(product)
    sales = [{"time": n, "shop": f"s{n % 7}", "city": f"c{n % 11}", "amount": n} for n in range(80)]
    assert product.publish(sales)["rejected"] == []
    _until(lambda: len(_waiting(product, 1)) == 80)
    waiting = _waiting(product, 0)
    assert waiting.keys() == set(range(80))
    assert {each["key"] for each in waiting.values()} == {f"c{n}" for n in range(11)}

    # Two people, each at another worker than some of the rows are.
    first = waiting[0]["id"]
    said = _say(product, 0, first, "approve", "ann", comment="fine")
    assert said.status_code == 200, said.text
    assert said.json()["waits"]["votes"][0]["comment"] == "fine"
    assert _say(product, 1, first, "approve", "ann").status_code == 409
    assert _say(product, 1, first, "approve", "dan").status_code == 409
    assert _say(product, 1, first, "delegate", "bob", to="dan").json()["waits"]["approvers"] == ["ann", "dan", "cyd"]
    assert _say(product, 1, first, "approve", "dan").json()["waits"] is None
    assert _say(product, 0, first, "approve", "cyd").status_code == 404
    assert _say(product, 0, "7-1", "approve", "cyd").status_code == 404
    environment = {**os.environ, "STREAMFLOW_URL": f"http://127.0.0.1:{product.ports[1]}"}
    command = [sys.executable, "-m", "streamflow", "approvals", "decide", product.name, waiting[1]["id"], "reject"]
    for actor, tells in (("ann", "still waits"), ("bob", "the row went on")):
        done = subprocess.run([*command, "--actor", actor], env=environment, capture_output=True, text=True, timeout=90)
        assert (done.returncode, tells in done.stdout) == (0, True), done.stderr + done.stdout
    assert _read(kafka, f"{product.name}.good", f"{product.name}.bad") == {
        f"{product.name}.good": [0],
        f"{product.name}.bad": [1],
    }

    _cancel_one(product)
    # Decided while nothing is read, then everybody dies: between decision and release.
    pause = product.client(0).post(f"/v1/topologies/{product.name}/pause?timeout_ms=30000")
    assert pause.status_code == 200, pause.text
    for number in range(2, 30):
        for actor in ("ann", "bob"):
            assert _say(product, number % 2, waiting[number]["id"], "approve", actor, wait=False).status_code == 202
    assert len(_waiting(product, 0)) == 78
    for number in (0, 1):
        product.stop(number, signal.SIGKILL)
    _start_two(product)
    assert len(_waiting(product, 1)) == 78
    assert product.client(1).post(f"/v1/topologies/{product.name}/resume").status_code == 200
    # And killed in the middle of the work.
    for number in range(30, 80):
        word = "approve" if number % 2 else "reject"
        for actor in ("cyd", "bob"):
            if number == 55 and actor == "bob":
                product.stop(0, signal.SIGKILL)
            _say(product, 1, waiting[number]["id"], word, actor, wait=False)
    product.stop(1, signal.SIGKILL)
    _start_two(product)
    while left := _waiting(product, 0):  # what was asked of somebody who had just died is asked again
        for number, each in left.items():
            for actor in {"ann", "bob", "cyd"} - {vote["actor"] for vote in each["votes"]}:
                _say(product, 0, each["id"], "approve" if number % 2 else "reject", actor, wait=False)
        time.sleep(0.2)
    found = _read(kafka, f"{product.name}.good", f"{product.name}.bad")
    expected = {
        f"{product.name}.good": Counter([0, *range(2, 30), *range(31, 80, 2)]),
        f"{product.name}.bad": Counter([1, *range(30, 80, 2)]),
    }
    assert {topic: Counter(amounts) for topic, amounts in found.items()} == expected
    _is_still_cancelled(product)
    _check_executions(product, kafka)
