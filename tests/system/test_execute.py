"""Execute on a real Kafka: the answer has what became of the event, on whatever worker that happened."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str?, amount: int}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, idle_after: 500ms}}
  large:   {{kind: filter, input: sales, where: amount > 10}}
  priced:  {{kind: map, input: large, set: {{share: 100 / (amount - 13)}}}}
  out:     {{kind: sink, input: priced, topic: {name}.large}}
  by_city: {{kind: key_by, input: large, key: city}}
  seen:    {{kind: echo, input: by_city, table: seen}}
  out2:    {{kind: sink, input: seen, topic: {name}.seen}}
  totals:  {{kind: window, input: by_city, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
  out3:    {{kind: sink, input: totals, topic: {name}.totals}}
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _execute(product: Product, number: int = 0, timeout_ms: int = 20_000, **event: Any) -> httpx.Response:
    body = {"time": int(time.time() * 1_000), "shop": "a", "city": "Rome", "amount": 20, **event}
    path = f"/v1/topologies/{product.name}/execute?timeout_ms={timeout_ms}"
    return product.client(number).post(path, content=json.dumps(body))


def test_the_answer_is_what_became_of_the_event_on_whatever_worker(product: Product) -> None:
    product.start(0)
    product.start(1)
    for number in range(12):
        answer = _execute(product, number % 2, shop=f"s{number}", city=f"c{number}")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        rows = {row["topic"].removeprefix(product.name): row["row"] for row in body["rows"]}
        assert set(rows) == {".large", ".seen"}
        assert (rows[".large"]["shop"], rows[".seen"]["city"]) == (f"s{number}", f"c{number}")
        assert body["tables"] == ["seen", "totals"]
        table = product.query("totals", (number + 1) % 2, key=f"c{number}", after=body["token"]).json()
        assert [row["value"] for row in table["rows"]] == [{"n": 1}]
    filtered = _execute(product, amount=1).json()
    assert (filtered["status"], filtered["rows"], filtered["dead"]) == ("done", [], [])
    broken = _execute(product, amount=13).json()
    assert broken["status"] == "dead"
    assert [(each["node"], each["reason"]) for each in broken["dead"]] == [("priced", "expression")]
    assert [row["topic"] for row in broken["rows"]] == [f"{product.name}.seen"]
    assert _execute(product, amount="x").status_code == 422
    moment = int(time.time() * 1_000)
    sent = [{"time": moment, "shop": f"m{i}", "city": f"m{i}", "amount": 20} for i in range(10)]
    bodies = json.dumps([*sent, {**sent[0], "amount": 1}, {**sent[0], "amount": "x"}, {**sent[0], "amount": 13}])
    many = product.client(1).post(f"/v1/topologies/{product.name}/execute?timeout_ms=20000", content=bodies)
    assert (many.status_code, many.json()["counts"]) == (200, {"done": 11, "rejected": 1, "dead": 1}), many.text
    well = [each for each in many.json()["results"] if each["status"] == "done"]
    shops = [{row["row"]["shop"] for row in each["rows"] if "shop" in row["row"]} for each in well]
    assert shops == [*({f"m{i}"} for i in range(10)), set()], "each has its own, in their order"
    soon = _execute(product, 0, timeout_ms=0)
    assert soon.status_code == 202
    done = product.client(1).get(soon.headers["location"], params={"timeout_ms": 20_000})
    assert (done.status_code, len(done.json()["rows"])) == (200, 2), "any worker has it"


def test_a_crash_between_asking_and_answering_changes_no_outcome(product: Product) -> None:
    product.start(0)
    assert _execute(product).status_code == 200
    product.stop(0, signal.SIGKILL)
    product.start(0)
    product.start(1)
    asked = [_execute(product, 1, timeout_ms=0, shop=f"s{i}", city=f"c{i}") for i in range(30)]
    product.stop(0, signal.SIGKILL)
    for answer in asked:
        location = answer.headers.get("location") or f"/v1/topologies/{product.name}/executions/{answer.json()['id']}"
        done = product.client(1).get(location, params={"timeout_ms": 30_000})
        assert (done.status_code, done.json()["status"]) == (200, "done")
        assert sorted(row["topic"] for row in done.json()["rows"]) == [f"{product.name}.large", f"{product.name}.seen"]
