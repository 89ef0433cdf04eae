"""Async nodes on a real Kafka: a server that fails, a worker that is killed, and each event's result once."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.calls.server import Server, serving
from tests.system.test_control import _order
from tests.system.test_timers import _read
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {{name}}
schemas: {{{{Sale: {{{{time: timestamp, shop: str, path: str, number: int}}}}}}}}
nodes:
  sales:  {{{{kind: source, topic: {{name}}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, idle_after: 500ms}}}}
  asked:
    kind: http_request
    input: sales
    url: "{url}/{{{{path}}}}/{{{{number}}}}"
    response: {{{{double: int, place: str}}}}
    paths: {{{{place: at.place}}}}
    headers: {{{{Authorization: "Bearer ${{{{secret:shop}}}}"}}}}
    concurrency: 20
    resilience:
      timeout: 20s
      retry: {{{{attempts: 5, base: 50ms}}}}
      breaker: {{{{failures: 4, open_for: 300ms}}}}
  out:    {{{{kind: sink, input: asked, topic: {{name}}.out}}}}
  seen:   {{{{kind: echo, input: sales, table: seen}}}}
  echoed: {{{{kind: sink, input: seen, topic: {{name}}.echoed}}}}
  sooner: {{{{kind: python, input: sales, call: "tests.calls.functions:dawdling", order: unordered}}}}
  soon:   {{{{kind: sink, input: sooner, topic: {{name}}.soon}}}}
  rated:  {{{{kind: python, input: sales, call: "tests.calls.functions:rated", resilience: {{{{cache: {{{{disk_bytes: 1048576, shared: true, mark: kept}}}}}}}}}}}}
  rates:  {{{{kind: sink, input: rated, topic: {{name}}.rates}}}}
  shares: {{{{kind: map, input: sales, set: {{{{number: 100 // (number % 50)}}}}}}}}
  shared: {{{{kind: sink, input: shares, topic: {{name}}.shared}}}}
  none:   {{{{kind: sink, input: shares.failed, topic: {{name}}.none}}}}
  light:  {{{{kind: store_payload, input: sales, field: path, reference: at, over: 5}}}}
  whole:  {{{{kind: fetch_payload, input: light, reference: at, field: path}}}}
  full:   {{{{kind: sink, input: whole, topic: {{name}}.full}}}}
  told:   {{{{kind: webhook, input: asked, url: "{url}/hook", concurrency: 10}}}}
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str, server: Server) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY.format(url=server.url))
    yield made
    made.kill()


def _sales(numbers: range, path: str = "ok") -> list[dict[str, Any]]:
    return [{"time": 1_000 + n, "shop": f"s{n % 7}", "path": path, "number": n} for n in numbers]


def _wait(what: Callable[[], bool], said: str) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def _circuits(product: Product) -> dict[str, list[str]]:
    calls = product.client().get(f"/v1/topologies/{product.name}").json()["calls"]
    return {node: list(view["circuits"].values()) for node, view in calls.items()}


def test_each_event_has_its_result_once_whatever_the_server_and_kill_9_do(
    product: Product, kafka: str, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "payloads").mkdir()
    environment = {
        "STREAMFLOW_CRITICAL_PATH_FIRST": "true",
        "STREAMFLOW_OUTBOUND_NETWORKS": "127.0.0.0/8",
        "STREAMFLOW_SECRET_SHOP": "opensesame",
        "STREAMFLOW_PAYLOADS_URL": f"file://{tmp_path}/payloads",
    }
    product.start(0, **environment)
    server.slow_s = 0.05
    product.publish(_sales(range(600)))
    _wait(lambda: sum(server.requests.values()) > 200, "the server was not asked")
    assert product.stop(0, signal.SIGKILL) != 0
    product.start(0, **environment)
    product.publish(_sales(range(600, 610), "status/404"))
    product.publish(_sales(range(610, 640)))
    records = _read(kafka, f"{product.name}.out", 630, 1)
    rows = [json.loads(record.value) for record in records]
    expected = [n for n in range(640) if not 600 <= n < 610]
    assert sorted(row["number"] for row in rows) == expected
    assert all((row["double"], row["place"]) == (row["number"] * 2, f"p{row['number']}") for row in rows)
    for shop in {row["shop"] for row in rows}:
        found = [row["number"] for row in rows if row["shop"] == shop]
        assert found == sorted(found), "the order of a key"
    asked = {path: count for path, count in server.requests.items() if path.startswith("/ok/")}
    assert len(asked) == 630
    assert {headers.get("Authorization") for headers in server.headers if "Idempotency-Key" not in headers} == {
        "Bearer opensesame"
    }
    letters = [dict(record.headers) for record in _read(kafka, f"{product.name}.dead_letters", 10, 1)]
    assert len(letters) == 10
    assert {(each["sf-node"], each["sf-reason"], each["sf-status"], each["sf-calls"]) for each in letters} == {
        (b"asked", b"status", b"404", b"1")
    }
    # The webhook was told of each row at least once, under one key per row.
    _wait(lambda: len({body["number"] for body in server.bodies}) == 630, "the webhook was not told of every row")
    assert len(server.keys) == 630

    # A pause in the middle of calls: what is answered is committed, the rest is asked again.
    server.slow_s = 0.2
    product.publish(_sales(range(2_000, 2_200)))
    _wait(lambda: server.requests["/ok/2000"] > 0, "nobody asked")
    _order(product, "pause", "calls are under way")
    product.publish(_sales(range(2_200, 2_220)))
    assert server.requests["/ok/2200"] == 0
    _order(product, "resume", "go on")
    server.slow_s = 0.0
    expected += range(2_000, 2_220)
    rows = [json.loads(record.value) for record in _read(kafka, f"{product.name}.out", len(expected), 1)]
    assert sorted(row["number"] for row in rows) == expected

    # An outage: rows wait, the branch beside goes on, nothing becomes a dead letter.
    server.down = True
    token = product.publish(_sales(range(1_000, 1_200)))["token"]
    counts = product.query("seen", after=token, limit=100).json()["rows"]
    assert sum(row["value"]["count"] for row in counts) == 1_060
    _wait(lambda: sum(server.requests[f"/ok/{n}"] for n in range(1_000, 1_200)) > 4, "nobody asked")
    _wait(lambda: "open" in _circuits(product)["asked"], "the circuit of a host that is down was not opened")
    health = lambda: product.client().get("/readyz").json()["dependencies"]["node asked"]  # noqa: E731
    _wait(lambda: health() == "down", "health does not tell of it")
    server.down = False
    rows = [json.loads(record.value) for record in _read(kafka, f"{product.name}.out", len(expected) + 200, 1)]
    numbers = Counter(row["number"] for row in rows)
    assert set(numbers.values()) == {1}
    assert set(numbers) == {*expected, *range(1_000, 1_200)}, "the outage cost rows"
    _wait(lambda: _circuits(product)["asked"] == ["closed"], "the circuit was not closed again")

    # Without an order rows overtook others, through the kill and the pause, and each came once.
    soon = [json.loads(record.value)["number"] for record in _read(kafka, f"{product.name}.soon", 1_060, 1)]
    assert sorted(soon) == sorted([*range(640), *range(1_000, 1_200), *range(2_000, 2_220)])
    slow = [place for place, number in enumerate(soon) if number % 10 == 0]
    assert any(soon[place - 1] > soon[place] for place in slow if place), "nobody overtook"

    # What one worker was answered its successor knows from its disk; what cannot be computed went on elsewhere.
    rates = [json.loads(record.value) for record in _read(kafka, f"{product.name}.rates", 1_060, 1)]
    assert len({(row["shop"], row["process"]) for row in rates}) == 7, "a shop was asked for twice"
    assert sum(not row["kept"] for row in rates) <= 7
    none = [json.loads(record.value)["number"] for record in _read(kafka, f"{product.name}.none", 22, 1)]
    assert sorted(none) == [*range(0, 640, 50), *range(1_000, 1_200, 50), *range(2_000, 2_220, 50)]

    # The one path that is long lay beside Kafka meanwhile, and each row has it again.
    full = [json.loads(record.value) for record in _read(kafka, f"{product.name}.full", 1_060, 1)]
    digest = sha256(b"status/404").hexdigest()
    assert [each.name for each in (tmp_path / "payloads").iterdir()] == [digest]
    assert sorted((row["number"], row["path"], (row["at"] or {}).get("digest")) for row in full) == sorted(
        (n, *(("status/404", digest) if 600 <= n < 610 else ("ok", None)))
        for n in [*range(640), *range(1_000, 1_200), *range(2_000, 2_220)]
    )
    cache = product.client().get(f"/v1/topologies/{product.name}").json()["calls"]["rated"]["cache"]
    assert (cache["disk"]["entries"], cache["grade"]) == (7, "good")
    metrics = product.client().get("/metrics").text
    assert f'streamflow_calls_circuit{{node="asked",target="{server.url}",topology="{product.name}"}} 0.0' in metrics
    assert f'streamflow_calls_cache_disk_entries{{node="rated",topology="{product.name}"}} 7.0' in metrics

    # Another worker takes over: it has never asked, and finds on its own disk what the first was answered.
    assert product.stop(0) == 0
    product.start(1, **environment)
    product.publish(_sales(range(3_000, 3_014)), 1)
    both = [json.loads(record.value) for record in _read(kafka, f"{product.name}.rates", 1_074, 1)]
    assert {(row["shop"], row["process"]) for row in both} == {(row["shop"], row["process"]) for row in rates}
    assert Counter(row["kept"] for row in both) == Counter(row["kept"] for row in rates) + Counter({True: 14})
    cache = product.client(1).get(f"/v1/topologies/{product.name}").json()["calls"]["rated"]["cache"]
    assert (cache["misses"], cache["disk"]["heard"], cache["disk"]["told"]) == (0, 7, 0)
    assert product.stop(1) == 0
