"""Global tables on real workers and a real Kafka: the gate, updates while running, and what ends a worker."""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.nodes.test_plug_ins import install
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, item: int}}
  Item: {{number: int, name: str, price: float?}}
nodes:
  sales: {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  items: {{kind: global_table, topic: {name}.items, schema: Item, key: number, partitions: 3, max_rows: 60000}}
  named: {{kind: lookup, input: sales, table: items, key: item, missing: null}}
  out:   {{kind: sink, input: named, topic: {name}.named}}
"""
_ROWS = 50_000
_SLOW_READER = """
import asyncio
from streamflow.cli.main import app
from streamflow.runtime.global_tables import GlobalTables

take = GlobalTables._take

async def take_slowly(self, consumer):
    await asyncio.sleep(2)
    return await take(self, consumer)

GlobalTables._take = take_slowly
app()
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _table(product: Product, **parameters: Any) -> dict[str, Any]:
    return dict(product.query("items", **parameters).json())


def _put(product: Product, rows: list[dict[str, Any]]) -> str:
    answer = product.client().post(f"/v1/topics/{product.name}.items/events", content=json.dumps(rows)).json()
    assert (answer["accepted"], answer["rejected"]) == (len(rows), [])
    return str(answer["token"])


def _delete(product: Product, number: int) -> str:
    path = f"/v1/topics/{product.name}.items/events"
    return str(product.client().post(path, params={"key": number}, content="null").json()["token"])


def _sell(product: Product, items: range) -> None:
    sales = [{"time": 1_000 + place, "shop": f"s{place % 7}", "item": item} for place, item in enumerate(items)]
    assert product.publish(sales)["accepted"] == len(sales)


async def _send(kafka: str, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    """Append records as any client would, past HTTP."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=1 << 19, linger_ms=5)
    await producer.start()
    for key, value in records:
        await producer.send(topic, value, key=key)
    await producer.stop()


async def _read(kafka: str, topic: str, count: int) -> list[dict[str, Any]]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        return [json.loads((await asyncio.wait_for(consumer.getone(), 30)).value) for _ in range(count)]
    finally:
        await consumer.stop()


def test_a_worker_never_works_on_a_row_before_its_tables_are_read(product: Product, kafka: str) -> None:
    """50,000 rows and as many events wait when it starts, alone and beside another worker: every one is enriched.

    Reading is slowed down, so that it takes longer than joining the group does.
    """
    product.start(0)
    product.stop(0)
    product.launcher = ("-c", _SLOW_READER)
    rows = [(b"%d" % n, b'{"number":%d,"name":"item %d"}' % (n, n)) for n in range(_ROWS)]
    sales = [(b"s%d" % n, b'{"time":3000,"shop":"s%d","item":%d}' % (n, n)) for n in range(_ROWS)]
    asyncio.run(_send(kafka, f"{product.name}.items", rows))
    asyncio.run(_send(kafka, f"{product.name}.sales", sales[:30_000]))
    product.start(0)
    product.start(1)
    asyncio.run(_send(kafka, f"{product.name}.sales", sales[30_000:]))
    found = asyncio.run(_read(kafka, f"{product.name}.named", _ROWS))
    assert [row for row in found if row["name"] != f"item {row['item']}"] == []
    assert {row["item"] for row in found} == set(range(_ROWS))


def test_tables_follow_their_topics_while_running(product: Product, kafka: str) -> None:
    """Changes and deletions reach the lookups, the queries of every worker, and the metrics."""
    product.start(0)
    product.start(1)
    token = _put(product, [{"number": n, "name": f"old {n}"} for n in range(20)])
    for number in (0, 1):
        assert len(_table(product, number=number, after=token)["rows"]) == 20
    _sell(product, range(5))
    assert {row["name"] for row in asyncio.run(_read(kafka, f"{product.name}.named", 5))} == {
        f"old {n}" for n in range(5)
    }
    _put(product, [{"number": n, "name": f"new {n}", "price": 1.5} for n in range(5)])
    token = _delete(product, 4)
    for number in (0, 1):
        found = _table(product, number=number, after=token)
        assert found["served_by"] == [f"http://127.0.0.1:{product.ports[number]}"]
        assert [row["key"] for row in found["rows"] if row["key"] < 5] == [0, 1, 2, 3]
        assert _table(product, number=number, key=3)["rows"][0]["value"] == {"name": "new 3", "price": 1.5}
    _sell(product, range(6))
    later = asyncio.run(_read(kafka, f"{product.name}.named", 11))
    assert sorted(str(row["name"]) for row in later) == sorted(
        [*(f"old {n}" for n in range(6)), *(f"new {n}" for n in range(4)), "None"]
    )
    metrics = product.client().get("/metrics").text
    labels = f'{{table="items",topology="{product.name}"}}'
    assert f"streamflow_global_table_rows{labels} 19.0" in metrics
    assert f"streamflow_global_table_lag_records{labels} 0.0" in metrics
    view = product.client().get(f"/v1/topologies/{product.name}").json()["global_tables"]["items"]
    assert (view["rows"], view["bad"], view["lag"], view["ratio"]) == (19, 0, 0, 1.0)


def test_a_table_that_outgrows_its_bound_ends_the_worker_for_good(product: Product, kafka: str) -> None:
    """While running and at the next start: leaving rows out would give wrong results."""
    product.start(0)
    rows = [(b"%d" % n, b'{"number":%d,"name":"x"}' % n) for n in range(60_001)]
    asyncio.run(_send(kafka, f"{product.name}.items", rows[:-1]))
    deadline = time.monotonic() + 60
    while product.client().get(f"/v1/topologies/{product.name}").json()["global_tables"]["items"]["rows"] < 60_000:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    asyncio.run(_send(kafka, f"{product.name}.items", rows[-1:]))
    assert product.workers[0].wait(60) == 78
    with pytest.raises(AssertionError, match=r"60001 rows and .* raise max_rows or max_bytes"):
        product.start(0)
    assert product.workers[0].wait(60) == 78


def test_a_topic_that_is_not_compacted_is_refused(product: Product, kafka: str) -> None:
    """Rows would go by time; the remedy is a command."""

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_topics([NewTopic(f"{product.name}.items", 2, 1)])
        await admin.close()

    asyncio.run(create())
    with pytest.raises(
        AssertionError, match=r"(?s)has cleanup.policy delete, the plan needs compact: .*policy=\[compact\]"
    ):
        product.start(0)


def test_an_open_transaction_of_somebody_else_holds_no_start_up(product: Product, kafka: str) -> None:
    """The end to catch up to is what is stable; the rest comes while running."""
    product.start(0)
    product.stop(0)

    async def hold_open() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{product.name}-other")
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(f"{product.name}.items", b'{"number":1,"name":"open"}', key=b"1")
        await asyncio.to_thread(product.start, 0)
        assert _table(product)["rows"] == []
        await producer.commit_transaction()
        await producer.stop()

    asyncio.run(hold_open())
    deadline = time.monotonic() + 60
    while not _table(product)["rows"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert _table(product)["rows"] == [{"key": 1, "final": False, "value": {"name": "open", "price": None}}]
    assert product.stop(0) == 0


def test_a_worker_that_reads_its_tables_says_so_and_can_be_stopped(product: Product, kafka: str) -> None:
    """It is not ready, refuses queries of the table for now, takes rows, and ends in order."""
    product.start(0)
    _put(product, [{"number": 1, "name": "x"}])
    product.stop(0)
    product.launcher = ("-c", _SLOW_READER)
    product.launch(0)
    client, deadline = product.client(), time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            ready = client.get("/readyz")
        except httpx.TransportError:
            time.sleep(0.05)  # not listening yet
            continue
        if "items" in ready.json()["restoring"]:
            break
    assert (ready.status_code, ready.json()["assigned"]) == (503, False)
    answer = client.get(f"/v1/topologies/{product.name}/tables/items")
    assert (answer.status_code, answer.json()["title"]) == (503, "restoring")
    _put(product, [{"number": 2, "name": "y"}])
    assert product.stop(0) == 0


_OFFICES = [
    ("o1", "savings", "Nordbank", "Harbour"),
    ("o2", "savings", "Nordbank", "Hill"),
    ("o3", "giro", "Ost", "Mill"),
]


def _put_offices(product: Product, offices: Sequence[tuple[str, ...]]) -> None:
    names = ("office", "account", "bank", "branch")
    rows = [{**dict(zip(names, each, strict=True)), "code": each[0].upper()} for each in offices]
    answer = product.client().post("/v1/topics/banks.directory/events", content=json.dumps(rows)).json()
    product.query("directory", after=answer["token"])


def _asked(product: Product, field: str, **values: str) -> dict[str, Any]:
    body = {"field": field, "values": values}
    return dict(product.client().post("/v1/nodes/bank_verification/options", json=body).json())


def test_a_form_of_a_plug_in_is_answered_from_a_compacted_topic(kafka: str, tmp_path: Path, root: Path) -> None:
    """The sample `banks`: its fields follow from one another and from the directory, which changes meanwhile."""
    sample = root / "topologies" / "banks"
    install(tmp_path / "site", "banks", {"bank_verification": "bank_verification:BankVerification"})
    product = Product(
        kafka, tmp_path, "banks", (sample / "topology.yaml").read_text().replace("{", "{{").replace("}", "}}")
    )
    try:
        product.start(0, PYTHONPATH=os.pathsep.join([str(tmp_path / "site"), str(sample), str(root)]))
        _put_offices(product, _OFFICES)
        assert _asked(product, "directory")["options"] == ["directory"]
        chosen = {"directory": "directory", "account": "savings"}
        assert _asked(product, "account", directory="directory")["options"] == ["giro", "savings"]
        assert _asked(product, "bank", **chosen)["options"] == ["Nordbank"]
        assert _asked(product, "branch", **chosen)["waits_for"] == ["bank"]
        chosen["bank"] = "Nordbank"
        assert _asked(product, "branch", **chosen)["options"] == ["Harbour", "Hill"]
        chosen["branch"] = "Harbour"
        assert _asked(product, "bank_info", **chosen)["value"] == "Nordbank, Harbour (O1)"
        _put_offices(product, [("o4", "savings", "Nordbank", "Harbour")])
        assert _asked(product, "bank_info", **chosen)["value"] == "Nordbank, Harbour (O1, O4)"
        assert _asked(product, "bank_info", **{**chosen, "account": "giro"})["waits_for"] == ["bank", "branch"]
        checked = product.client().post("/v1/nodes/bank_verification/check", json={"values": chosen}).json()
        assert checked["config"] == {**chosen, "fields": {}}
        assert (checked["problems"], checked["derived"]) == ([], {"bank_info": "Nordbank, Harbour (O1, O4)"})
        payments = [{"time": n, "payment": f"p{n}", "office": f"o{n}", "amount": 2.5} for n in range(1, 6)]
        product.client().post("/v1/topics/banks.payments/events", content=json.dumps(payments))
        found = asyncio.run(_read(kafka, "banks.verified", 4))
        verified = {row["payment"]: row["verified"] for row in found}
        assert verified == {"p1": True, "p2": False, "p3": False, "p4": True}
    finally:
        product.kill()
