"""The product as its user runs it: worker processes, curl-like clients, a real Kafka."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str?, amount: int}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, idle_after: 500ms}}
  known:   {{kind: filter, input: sales, where: city is not None}}
  by_city: {{kind: key_by, input: known, key: city}}
  totals:  {{kind: window, input: by_city, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count(), total: sum(amount)}}}}
  out:     {{kind: sink, input: totals, topic: {name}.totals}}
  seen:    {{kind: echo, input: sales, table: seen}}
  echoed:  {{kind: sink, input: seen, topic: {name}.echoed}}
"""


class Product:
    """Workers of one topology. `launcher`: arguments of Python that run the command line; `options`: of `run`."""

    launcher: tuple[str, ...] = ("-m", "streamflow")
    options: tuple[str, ...] = ()

    def __init__(self, kafka: str, folder: Path, name: str, topology: str = _TOPOLOGY) -> None:
        self.name = name
        self.kafka, self._folder = kafka, folder
        (folder / "topology.yaml").write_text(topology.format(name=name))
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.ports: dict[int, int] = {}

    def start(self, number: int, **environment: str) -> None:
        """Start a worker and wait until it is ready."""
        self.launch(number, **environment)
        self.wait_ready(number)

    def launch(self, number: int, **environment: str) -> None:
        """Start a worker."""
        port = self.ports.setdefault(number, free_port())
        variables = {
            **os.environ,
            "STREAMFLOW_BROKERS": self.kafka,
            "STREAMFLOW_STATE_DIR": str(self._folder / f"state-{number}"),
            "STREAMFLOW_HTTP_PORT": str(port),
            "STREAMFLOW_SESSION_TIMEOUT_MS": "6000",
            **environment,
        }
        command = [sys.executable, *self.launcher, "run", str(self._folder), "--worker", *self.options]
        with (self._folder / f"worker-{number}.log").open("ab") as log:
            self.workers[number] = subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    def wait_ready(self, number: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.workers[number].poll() is None, (self._folder / f"worker-{number}.log").read_text()[-3_000:]
            try:
                answer = self.client(number).get("/readyz")
                if answer.status_code == 200 and answer.json()["tasks"] > 0:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("the worker was not ready within 120 s")

    def client(self, number: int = 0) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.ports[number]}", timeout=60)

    def publish(self, events: list[dict[str, Any]], number: int = 0) -> dict[str, Any]:
        answer = self.client(number).post(f"/v1/topics/{self.name}.sales/events", content=json.dumps(events))
        return dict(answer.json())

    def query(self, table: str, number: int = 0, **parameters: Any) -> httpx.Response:
        deadline = time.monotonic() + 60
        while True:
            answer = self.client(number).get(f"/v1/topologies/{self.name}/tables/{table}", params=parameters)
            if answer.status_code not in (202, 503) or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers.values():
            worker.kill()
            worker.wait()

    def stop(self, number: int, how: signal.Signals = signal.SIGTERM) -> int:
        worker = self.workers.pop(number)
        worker.send_signal(how)
        return worker.wait(60)


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique)
    yield made
    made.kill()


def _sale(time_ms: int, shop: str = "a", city: str | None = "Rome", amount: int = 5) -> dict[str, Any]:
    return {"time": time_ms, "shop": shop, "city": city, "amount": amount}


def test_publish_query_and_read_your_writes(product: Product) -> None:
    product.start(0)
    answer = product.publish([_sale(1_000 + i, shop=f"s{i % 5}") for i in range(100)])
    assert (answer["accepted"], answer["rejected"]) == (100, [])
    rows = product.query("totals", after=answer["token"], key="Rome").json()
    assert rows["rows"] == [
        {"key": "Rome", "start": 1_000, "end": 2_000, "final": False, "value": {"n": 100, "total": 500}}
    ]
    assert rows["served_by"] == [f"http://127.0.0.1:{product.ports[0]}"]
    counts = product.query("seen", after=answer["token"]).json()["rows"]
    assert sum(row["value"]["count"] for row in counts) == 100


def test_what_http_refuses_and_why(product: Product) -> None:
    product.start(0)
    client, path = product.client(), f"/v1/topics/{product.name}.sales/events"
    mixed = client.post(
        path, content='[{"time":1,"shop":"a","amount":1},{"time":"x","shop":"a","amount":1},{"time":1,"amount":1}]'
    )
    body = mixed.json()
    assert (mixed.status_code, body["accepted"]) == (200, 1)
    assert [(each["index"], each["reason"]) for each in body["rejected"]] == [(1, "decode"), (2, "decode")]
    assert (
        client.post(path, content='{"time":1,"shop":"a","amount":1}\n{"time":2,"shop":"b","amount":1}').json()[
            "accepted"
        ]
        == 2
    )
    assert client.post(path, content='{\n "time": 1,\n "shop": "a",\n "amount": 1\n}').json()["accepted"] == 1
    assert client.post(path, content="").status_code == 422
    assert client.post(path, content="[1,2").status_code == 422
    assert client.post(path, content=b"x" * (17 << 20)).status_code == 413
    unknown = client.post(f"/v1/topics/{product.name}.sale/events", content="{}")
    assert unknown.status_code == 404
    assert "did you mean" in unknown.json()["detail"]
    assert client.get(f"/v1/topologies/{product.name}/tables/nope").status_code == 404
    assert client.get(f"/v1/topologies/{product.name}/tables/totals", params={"from": "soon"}).status_code == 422
    assert client.get(f"/v1/topologies/{product.name}/tables/totals", params={"cursor": "ä"}).status_code == 422
    table = f"/v1/topologies/{product.name}/tables/totals"
    bad = [{"after": "junk!"}, {"after": "é"}, {"key": ""}, {"from": "9" * 20}, {"to": "-" + "9" * 20}, {"limit": "0"}]
    for parameters in (*bad, {"partitions": "x"}, {"state": "maybe"}):
        answer = client.get(table, params=parameters)
        assert answer.status_code == 422, parameters
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.get(table, params={"partitions": "9"}).status_code == 421
    assert client.post(path, content="{}", headers={"content-encoding": "gzip"}).status_code == 415
    assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
    assert client.get("/healthz", headers={"x-request-id": "abc1"}).headers["x-request-id"] == "abc1"
    huge = client.post(path, content='{\n"time":1,"shop":"a","amount":1,"other":1e99999}')
    assert huge.status_code in (200, 422)


def test_the_views_metrics_and_documents(product: Product) -> None:
    product.start(0)
    token = product.publish([_sale(1_000), _sale(1_001, city=None)])["token"]
    product.query("totals", after=token)
    view = product.client().get(f"/v1/topologies/{product.name}").json()
    assert {task["stage"] for task in view["tasks"]} == {"sales", "by_city"}
    assert sum(task["nodes"]["known"]["in"] for task in view["tasks"] if task["stage"] == "sales") == 2
    assert view["plan"]["guarantee"] == "exactly_once"
    assert product.client().get("/v1/topologies").json()["topologies"][0]["name"] == product.name
    metrics = product.client().get("/metrics").text
    assert 'streamflow_node_rows_out{node="known"' in metrics
    assert 'streamflow_node_info{category="data_processing",kind="filter",node="known"' in metrics
    for family in ("checkpoint_seconds", "chunk_seconds", "chunk_records", "end_to_end_seconds"):
        assert f"streamflow_{family}_bucket" in metrics
    stream = [task["stream"] for task in view["tasks"] if task["stage"] == "sales"]
    assert sum(each["events_processed"] for each in stream) == 2
    assert all(0 <= each["buffer_ratio"] <= 1 for each in stream)
    assert max(each["last_checkpoint_ms"] for each in stream) > 0
    assert product.client().get("/healthz").json()["status"] in ("working", "idle")
    routes = product.client().get("/openapi.json").json()["paths"]
    assert "/v1/topologies/{topology}" in routes


def test_full_buffers_make_work_wait_and_are_counted(product: Product) -> None:
    """A backlog in front of a small buffer: nothing is lost meanwhile, and disorder is counted, too."""
    topic, count = f"{product.name}.sales", 30_000

    async def fill() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=product.kafka)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 3, 1)])
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=product.kafka, linger_ms=50) as producer:
            sales = [json.dumps(_sale(1_000 + i % 2)).encode() for i in range(2)]
            await asyncio.gather(*[await producer.send(topic, sales[i % 2], key=b"a") for i in range(count)])

    asyncio.run(fill())
    product.start(0, STREAMFLOW_PENDING_MAX_OUTPUTS="1000")
    deadline, done = time.monotonic() + 60, 0
    while done < count and time.monotonic() < deadline:
        done = sum(row["value"]["count"] for row in product.query("seen").json()["rows"])
        time.sleep(0.1)
    assert done == count
    metrics = product.client().get("/metrics").text
    for name in ("backpressure_events", "out_of_order_events", "latency_ms", "events_per_second", "windows_open"):
        assert re.search(rf"^streamflow_stream_{name}{{.*}} [1-9]", metrics, re.MULTILINE), name


def test_two_workers_answer_for_each_other_and_survive_each_other(product: Product) -> None:
    named = [{"STREAMFLOW_INSTANCE_ID": f"shop-{number}"} for number in (0, 1)]
    # Longer than anybody waits here: who is missed by the group only then is missed for good.
    patient = {"STREAMFLOW_SESSION_TIMEOUT_MS": "300000"}
    product.start(0, **named[0], **patient)
    product.start(1, **named[1], **patient, STREAMFLOW_RETURN_WITHIN_MS="6000")
    cities = [f"city-{i}" for i in range(30)]

    def publish(time_ms: int) -> str:
        sales = [_sale(time_ms + i, shop=f"s{i}", city=city) for i, city in enumerate(cities)]
        return str(product.publish(sales)["token"])

    token = publish(1_000)
    for number in (0, 1):
        answer = product.query("totals", number, after=token, limit=1000).json()
        assert sorted(row["key"] for row in answer["rows"]) == sorted(cities)
        assert len(answer["served_by"]) == 2
        for city in cities[:6]:
            assert len(product.query("totals", number, key=city, after=token).json()["rows"]) == 1
    # Gone for longer than it said; leaving at once, as is the default; by a signal that leaves no time to say anything.
    for count, how in enumerate((signal.SIGTERM, signal.SIGTERM, signal.SIGKILL), start=2):
        assert (product.stop(1, how) == 0) is (how is signal.SIGTERM)
        rows = product.query("totals", after=publish(1_100 + count), limit=1000).json()["rows"]
        assert [row["value"]["n"] for row in rows] == [count] * 30
        if how is signal.SIGTERM:
            product.start(1, **named[1], **(patient if count == 2 else {}))
    changes, deadline = list[tuple[int, int]](), time.monotonic() + 60
    while changes.count((2, 1)) < 3:
        assert time.monotonic() < deadline, changes
        page = product.client().get("/v1/events", params={"type": "SCALED", "topology": product.name}).json()
        changes = [(each["data"]["old"], each["data"]["new"]) for each in page["events"]]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(changes))


def test_a_graceful_stop_ends_with_0_and_state_survives_with_and_without_the_disk(
    product: Product, tmp_path: Path
) -> None:
    import shutil

    product.start(0)
    product.publish([_sale(1_000 + i) for i in range(50)])
    assert product.stop(0) == 0
    product.start(0)
    token = product.publish([_sale(1_100)])["token"]
    assert product.query("totals", key="Rome", after=token).json()["rows"][0]["value"]["n"] == 51
    product.stop(0, signal.SIGKILL)
    shutil.rmtree(tmp_path / "state-0")
    product.start(0)
    token = product.publish([_sale(1_200)])["token"]
    assert product.query("totals", key="Rome", after=token).json()["rows"][0]["value"]["n"] == 52


def test_bad_records_from_any_client_leave_for_the_dead_letters(product: Product, kafka: str) -> None:
    from aiokafka import AIOKafkaConsumer

    product.start(0)
    big = json.dumps({**_sale(1_010), "note": "x" * 1_000_000}).encode()
    values = [
        b"not json",
        None,
        b'{"time":1}',
        json.dumps(_sale(2**50)).encode(),
        big,
        json.dumps(_sale(1_000)).encode(),
    ]

    async def act() -> list[dict[str, str]]:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=4 << 20)
        await producer.start()
        for value in values:
            await producer.send_and_wait(f"{product.name}.sales", value, key=b"k", partition=0)
        await producer.stop()
        consumer = AIOKafkaConsumer(
            f"{product.name}.dead_letters",
            bootstrap_servers=kafka,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        found: list[dict[str, str]] = []
        while len(found) < 4:
            record = await asyncio.wait_for(consumer.getone(), 60)
            assert record.key == b"k"
            assert record.value in values
            found.append({name: value.decode() for name, value in record.headers})
        await consumer.stop()
        return found

    letters = {letter["sf-offset"]: letter["sf-reason"] for letter in asyncio.run(act())}
    assert letters == {"0": "decode", "1": "decode", "2": "decode", "3": "event_time_ahead"}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = product.query("totals", key="Rome").json()["rows"]
        if rows and rows[0]["value"]["n"] == 2:
            return
        time.sleep(0.1)
    raise AssertionError(rows)


def test_results_too_large_for_a_sink_of_somebody_else_do_not_stop_the_stream(
    kafka: str, tmp_path: Path, unique: str
) -> None:
    from aiokafka import AIOKafkaConsumer

    topology = """
topology: {name}
schemas: {{Note: {{time: timestamp, text: str}}}}
nodes:
  notes: {{kind: source, topic: {name}.notes, schema: Note, event_time: time, partitions: 1}}
  out:   {{kind: sink, input: notes, topic: {name}.small}}
"""

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(f"{unique}.small", 1, 1, topic_configs={"max.message.bytes": "2000"})])
        await admin.close()

    async def read(topic: str, count: int) -> list[Any]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await consumer.start()
        found = [await asyncio.wait_for(consumer.getone(), 60) for _ in range(count)]
        await consumer.stop()
        return found

    asyncio.run(create())
    product = Product(kafka, tmp_path, unique, topology)
    try:
        product.start(0)
        events = [{"time": i, "text": "x" * size} for i, size in enumerate((10, 5_000, 20, 900, 900, 900))]
        product.client().post(f"/v1/topics/{unique}.notes/events", content=json.dumps(events))
        assert [json.loads(r.value)["time"] for r in asyncio.run(read(f"{unique}.small", 5))] == [0, 2, 3, 4, 5]
        letter = asyncio.run(read(f"{unique}.dead_letters", 1))[0]
        assert dict(letter.headers)["sf-reason"] == b"too_large"
        assert product.workers[0].poll() is None
    finally:
        product.kill()


def test_at_least_once_runs_on_the_same_code(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(
        kafka, tmp_path, unique, _TOPOLOGY.replace("topology: {name}", "topology: {name}\nguarantee: at_least_once")
    )
    try:
        product.start(0)
        product.publish([_sale(1_000 + i) for i in range(50)])
        time.sleep(1)
        assert product.stop(0) == 0
        product.start(0)
        token = product.publish([_sale(1_100)])["token"]
        assert product.query("totals", key="Rome", after=token).json()["rows"][0]["value"]["n"] == 51
    finally:
        product.kill()


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_another_layout_is_refused_with_a_remedy(product: Product, tmp_path: Path, disk: str) -> None:
    import shutil

    product.start(0)
    token = product.publish([_sale(1_000)])["token"]
    product.query("totals", after=token)
    assert product.stop(0) == 0
    changed = _TOPOLOGY.replace("n: count(), total: sum(amount)", "n: count(), most: max(amount)")
    (tmp_path / "topology.yaml").write_text(changed.format(name=product.name))
    if disk == "lost":
        shutil.rmtree(tmp_path / "state-0")
    with pytest.raises(AssertionError, match="another layout than the topology"):
        product.start(0)
    assert product.workers[0].wait(60) == 78
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY.format(name=product.name))
    product.start(0)
    token = product.publish([_sale(1_001)])["token"]
    rows = product.query("totals", key="Rome", after=token).json()["rows"]
    assert [row["value"] for row in rows] == [{"n": 2, "total": 10}], "nothing of it was misread or lost"
