"""Publishing with idempotency keys on a real Kafka: once, through two workers, whoever dies in between."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from streamflow.model.keyed_publish import KeyReused, Published, request_digest
from streamflow.plan.planner import make_plan
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.keyed_publisher import KeyedPublisher
from streamflow.runtime.record_limits import RecordLimits
from streamflow.runtime.topics import ensure_topics, record_limits
from streamflow.settings.settings import load_settings
from streamflow.topology.yaml_file import parse_topology
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Sale: {{time: timestamp, shop: str, id: int}}}}
nodes:
  sales: {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  seen:  {{kind: echo, input: sales, table: seen}}
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _ids(kafka: str, topic: str) -> Counter[int]:
    async def read() -> list[int]:
        found = []
        for partition in (0, 1):
            async with CommittedLog(load_settings(brokers=kafka), topic, partition) as log:
                found += [json.loads(record.value or b"")["id"] async for record in log.records()]
        return found

    return Counter(asyncio.run(read()))


def test_a_request_is_carried_out_once_through_two_workers_that_die(product: Product, kafka: str) -> None:
    product.launch(0)
    product.launch(1, STREAMFLOW_FAULTS="decision_settled=crash:3")
    product.wait_ready(0)
    product.wait_ready(1)

    def publish(number: int, key: str, worker: int, amount: int = 0) -> httpx.Response:
        sales = [{"time": 1_000 + amount, "shop": f"s{shop}", "id": number} for shop in range(3)]
        path, headers = f"/v1/topics/{product.name}.sales/events", {"Idempotency-Key": key}
        with httpx.Client(base_url=f"http://127.0.0.1:{product.ports[worker]}", timeout=60) as client:
            return client.post(path, content=json.dumps(sales), headers=headers)

    with ThreadPoolExecutor(8) as threads:
        same = list(threads.map(lambda n: publish(0, "same", n % 2), range(8)))
    assert {answer.status_code for answer in same} == {200}
    assert len({answer.json()["token"] for answer in same}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in same) == 7
    assert publish(0, "same", 0, amount=1).json()["title"] == "idempotency_key_reused"

    first = {number: publish(number, f"key-{number}", 0) for number in range(1, 13)}
    assert product.workers[1].wait(60) == -signal.SIGKILL, "it died with a transaction open"
    product.start(1, STREAMFLOW_FAULTS="decision_committed=crash:1")
    first |= {number: publish(number, f"key-{number}", 0) for number in range(13, 25)}
    assert product.workers[1].wait(60) == -signal.SIGKILL, "it died when all was done, and nobody was told"
    assert {answer.text for answer in first.values() if answer.status_code != 200} == set()
    again = {number: publish(number, f"key-{number}", 0) for number in first}
    assert {answer.headers.get("idempotency-replayed") for answer in again.values()} == {"true"}
    assert {number: answer.json() for number, answer in again.items()} == {n: a.json() for n, a in first.items()}
    assert _ids(kafka, f"{product.name}.sales") == Counter(dict.fromkeys(range(25), 3))
    token = again[24].json()["token"]
    assert sum(row["value"]["count"] for row in product.query("seen", after=token).json()["rows"]) > 0


def test_whoever_took_a_key_over_knows_it_and_forgets_it_when_its_time_ends(kafka: str, unique: str) -> None:
    plan, topic = make_plan(parse_topology(_TOPOLOGY.format(name=unique))), f"{unique}.sales"
    settings = load_settings(brokers=kafka)
    short = load_settings(brokers=kafka, idempotency_window_ms=1_000)

    async def act() -> None:
        counts, limits = await ensure_topics(plan, settings), RecordLimits(lambda: record_limits(plan, settings))
        await limits.read()
        one, two, later = (KeyedPublisher(plan, each, counts, limits) for each in (settings, settings, short))

        async def publish(by: KeyedPublisher, number: int) -> Published:
            value = b'{"id":%d}' % number
            return await by.publish(topic, f"key-{number}", request_digest(topic, None, value), [(b"s", value)])

        first = await publish(one, 1)
        assert await publish(two, 1) == Published(first.ends, 1, replayed=True)
        others = [n for n in range(2, 50) if one.shard_of(f"key-{n}") == one.shard_of("key-1")]
        assert not (await publish(one, others[0])).replayed, "it takes the shard back"
        assert (await publish(two, others[0])).replayed
        with pytest.raises(KeyReused):
            await one.publish(topic, "key-1", b"another", [(b"s", b"{}")])
        await asyncio.sleep(1.1)
        assert (await publish(one, 1)).replayed
        assert not (await publish(later, 1)).replayed
        for each in (one, two, later):
            await each.stop()

    asyncio.run(act())
    assert sorted(_ids(kafka, topic).values()) == [1, 2]
