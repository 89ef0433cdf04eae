"""Dead letters on a real Kafka: what arrives where with which context, mended and sent again, once, whoever dies."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.engine.letters import Letters
from streamflow.errors import EventError, Fenced
from streamflow.model.chunk import Record
from streamflow.model.letter import LetterFilter, LetterState
from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.letters import KafkaLetters
from streamflow.runtime.record_limits import RecordLimits
from streamflow.runtime.topics import ensure_topics, record_limits
from streamflow.settings.settings import Settings, load_settings
from streamflow.topology.yaml_file import parse_topology
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
version: 3
schemas: {{Order: {{time: timestamp, shop: str, amount: int, id: int}}}}
nodes:
  orders:  {{kind: source, topic: {name}.sales, schema: Order, event_time: time, key: shop, partitions: 2}}
  share:   {{kind: map, input: orders, set: {{share: 100 / amount}}}}
  shares:  {{kind: sink, input: share, topic: {name}.shares}}
  minutes: {{kind: window, input: orders, window: {{type: tumbling, size: 1m}}, aggregate: {{n: count()}}, late: {name}.late}}
"""


def _order(number: int, amount: int = 5, shop: str = "a", time_ms: int = 100_000) -> dict[str, Any]:
    return {"time": time_ms, "shop": shop, "amount": amount, "id": number}


def _eventually(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _read(kafka: str, topic: str, partition: int = 0) -> list[Record]:
    async def read() -> list[Record]:
        async with CommittedLog(load_settings(brokers=kafka), topic, partition) as log:
            return [record async for record in log.records()]

    return asyncio.run(read())


def _write(kafka: str, topic: str, *values: bytes) -> None:
    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value, key=b"a", partition=0, headers=[("trace", b"\x01")])
        await producer.stop()

    asyncio.run(write())


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def test_letters_are_looked_at_mended_and_sent_again_although_the_worker_dies(product: Product, kafka: str) -> None:
    name, source = product.name, f"{product.name}.sales"
    product.start(0, STREAMFLOW_FAULTS="decision_settled=crash:3")

    def dlq(*arguments: str, given: bytes | None = None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{product.ports[0]}"
        ran = CliRunner().invoke(app, ["dlq", *arguments[:1], name, *arguments[1:], "--url", url], input=given)
        return ran.exit_code, ran.stdout

    def listed(*where: str) -> list[dict[str, Any]]:
        options = [part for each in where for part in ("--where", each)]
        found: list[dict[str, Any]] = json.loads(dlq("list", "--json", *options)[1])
        return found

    def wait_for(count: int) -> list[dict[str, Any]]:
        assert _eventually(lambda: len(listed()) == count), listed()
        return listed()

    product.publish([_order(1), _order(10, amount=0), _order(11, amount=0, shop="b"), _order(2, time_ms=400_000)])
    product.publish([_order(12, amount=0, time_ms=401_000), _order(13, time_ms=100_500)])
    _write(kafka, source, b"not json", json.dumps(_order(14, time_ms=2**50)).encode())
    letters = wait_for(5)
    reasons = sorted((each["node"], each["reason"]) for each in letters)
    assert reasons == [("orders", "decode"), ("orders", "event_time_ahead"), *[("share", "expression")] * 3]
    assert all(each["class"] == "permanent" and each["attempts"] == 1 for each in letters)
    (late,) = _eventually(lambda: [r for p in (0, 1) for r in _read(kafka, f"{name}.late", p)])
    assert json.loads(late.value or b"")["id"] == 13, "late is no failure: it is its window's late topic"

    decode = listed("reason=decode")[0]["id"]
    shown = json.loads(dlq("show", str(decode), "--json")[1])
    assert (shown["value"], shown["headers"]["trace"], shown["headers"]["sf-version"]) == ("not json", "\x01", "3")
    failed = {json.loads(_letter_value(dlq, each["id"]))["id"]: each for each in listed("node=share", "key=a")}
    mended = str(failed[10]["id"])
    assert dlq("edit", mended, given=b'{"time": "soon"}')[0] == 1, "an edit must fit the schema"
    assert dlq("edit", mended, given=json.dumps(_order(10, amount=4)).encode())[0] == 0
    assert dlq("discard", "--where", f"id={decode}", "--comment", "noise")[0] == 0
    assert dlq("redrive")[0] == 1, "nothing says which"

    assert dlq("redrive", "--where", "node=share")[0] == 1, "the worker dies with the transaction open"
    assert product.workers[0].wait(60) == -signal.SIGKILL
    product.start(0)
    code, said = dlq("redrive", "--where", "node=share", "--json")
    assert (code, json.loads(said)) == (0, {"count": 3, "refused": []})
    assert json.loads(dlq("redrive", "--where", f"id={mended}", "--json")[1])["count"] == 0

    wait_for(7)
    again = listed("state=waiting", "node=share")
    assert sorted((each["attempts"], each["earlier"]) for each in again) == sorted(
        (2, each["id"]) for each in letters if each["node"] == "share" and str(each["id"]) != mended
    )
    redriven = json.loads(dlq("show", mended, "--json")[1])
    assert (redriven["state"], json.loads(redriven["value"])["amount"]) == ("redriven", 0)
    path = f"/v1/topologies/{name}/executions/{redriven['decision']['execution']}?timeout_ms=20000"
    outcome = product.client().get(path).json()
    assert (outcome["status"], [row["row"]["share"] for row in outcome["rows"]]) == ("late", [25.0])
    told = [json.loads(r.value or b"") for r in _read(kafka, "streamflow.events")]
    assert [(each["type"], each["actor"], each["data"]["count"]) for each in told if _is_deed(each, name)] == [
        ("DEAD_LETTER_EDITED", "anonymous", 1),
        ("DEAD_LETTER_DISCARDED", "anonymous", 1),
        ("DEAD_LETTER_REDRIVEN", "anonymous", 3),
    ]
    shares = [json.loads(r.value or b"")["id"] for p in (0, 1) for r in _read(kafka, f"{name}.shares", p)]
    assert sorted(shares) == [1, 2, 10, 13]
    sent = [
        dict(r.headers)["sf-letter"] for p in (0, 1) for r in _read(kafka, source, p) if "sf-letter" in dict(r.headers)
    ]
    assert len(sent) == len(set(sent)) == 3


def _is_deed(event: dict[str, Any], name: str) -> bool:
    return event["subject"] == name and event["type"].startswith("DEAD_LETTER_") and "actor" in event


def _letter_value(dlq: Callable[..., tuple[int, str]], number: int) -> str:
    return str(json.loads(dlq("show", str(number), "--json")[1])["value"])


_REDRIVE = """
import asyncio, sys
from tests.system.test_letters import redrive_all
print(asyncio.run(redrive_all(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
"""


def _plan(name: str) -> Plan:
    return make_plan(parse_topology(_TOPOLOGY.format(name=name)))


async def _desk(settings: Settings, name: str) -> KafkaLetters:
    plan = _plan(name)
    limits = RecordLimits(lambda: record_limits(plan, settings))
    await limits.read()
    return KafkaLetters(plan, settings, await ensure_topics(plan, settings), limits, "http://here")


async def redrive_all(kafka: str, name: str, per_s: float) -> int:
    """As a process of its own, which a fault ends."""
    desk = await _desk(load_settings(brokers=kafka), name)
    return len((await desk.redrive(LetterFilter(), 0, None, 100, per_s, "ops")).letters)


async def _put_letters(kafka: str, name: str, count: int) -> None:
    """Letters of records of both partitions, in order."""
    settings, plan = load_settings(brokers=kafka), _plan(name)
    await ensure_topics(plan, settings)
    writer, producer = Letters(plan, plan.stages[0]), AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(count):
        record = Record(number, b"k%d" % number, b'{"n":%d}' % number, 1_000 + number, (("own", b"h"),))
        dead = writer.of_record(record, f"{name}.sales", number % 2, "orders", EventError("decode", "bad"))
        await producer.send_and_wait(plan.dead_letter_topic, dead[1], key=dead[0], headers=list(dead[2] or ()))
    await producer.stop()


def test_a_letter_is_sent_once_whoever_dies_where_and_however_many_try(kafka: str, unique: str, root: Path) -> None:
    asyncio.run(_put_letters(kafka, unique, 12))
    for point in (
        "decision_made=crash:1",
        "decision_sent=crash:2",
        "decision_settled=crash:2",
        "decision_committed=crash:2",
    ):
        variables = {**os.environ, "STREAMFLOW_FAULTS": point}
        ran = subprocess.run(
            [sys.executable, "-c", _REDRIVE, kafka, unique, "20"], env=variables, cwd=root, check=False
        )
        assert ran.returncode == -signal.SIGKILL, point

    async def rest() -> tuple[list[Any], list[tuple[int, LetterState]]]:
        settings = load_settings(brokers=kafka)
        tries = [(await _desk(settings, unique)).redrive(LetterFilter(), 0, None, 100, 20, "ops") for _ in range(3)]
        fenced = [each for each in await asyncio.gather(*tries, return_exceptions=True) if isinstance(each, Exception)]
        assert all(isinstance(each, Fenced) for each in fenced), fenced
        desk = await _desk(settings, unique)
        await desk.redrive(LetterFilter(), 0, None, 100, 1_000, "ops")
        page = await desk.page(LetterFilter(), 0, None, 100)
        return fenced, [(letter.number, letter.state) for letter in page.letters]

    fenced, states = asyncio.run(rest())
    assert len(fenced) < 3
    assert states == [(number, LetterState.REDRIVEN) for number in range(12)]
    for partition in (0, 1):
        records = _read(kafka, f"{unique}.sales", partition)
        assert [int(dict(r.headers)["sf-letter"]) for r in records] == list(range(partition, 12, 2))
        times = [(int(dict(r.headers)["sf-time"]), dict(r.headers)["own"]) for r in records]
        assert times == [(1_000 + number, b"h") for number in range(partition, 12, 2)]
        assert all(dict(r.headers)["sf-attempts"] == b"1" for r in records)


_PARKING = """
topology: {name}
schemas: {{Order: {{time: timestamp, shop: str, amount: int, id: int}}}}
nodes:
  orders: {{kind: source, topic: {name}.sales, schema: Order, event_time: time, key: shop, partitions: 2}}
  share:  {{kind: map, input: orders, set: {{share: 100 / amount}}}}
  count:  {{kind: echo, input: share, table: seen}}
  shares: {{kind: sink, input: count, topic: {name}.shares}}
parking: {{orders: {{}}}}
"""


def test_a_key_waits_for_its_letter_whoever_dies_and_goes_on_in_order(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(kafka, tmp_path, unique, _PARKING)
    key = tmp_path / "key"
    assert CliRunner().invoke(app, ["audit", "key", str(key)]).exit_code == 0
    bus = {"STREAMFLOW_NAMESPACE": unique, "STREAMFLOW_AUDIT_KEY": f"file:{key}"}
    bus["STREAMFLOW_AUDIT_SEAL_INTERVAL_MS"] = "100"
    try:
        _tell_of_a_parked_key(product, kafka, bus)
    finally:
        product.kill()


def _tell_of_a_parked_key(product: Product, kafka: str, bus: dict[str, str]) -> None:
    name, worker = product.name, 0
    product.start(0, **bus, STREAMFLOW_FAULTS="decision_settled=crash:2")

    def dlq(*arguments: str, given: bytes | None = None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{product.ports[worker]}"
        ran = CliRunner().invoke(app, ["dlq", *arguments[:1], name, *arguments[1:], "--url", url], input=given)
        return ran.exit_code, ran.stdout

    def waiting() -> list[tuple[int, int]]:
        """Attempts of every letter that is waited for, and how many wait."""
        found = json.loads(dlq("list", "--json", "--where", "state=waiting", "--where", "state=edited")[1] or "[]")
        return [(each["attempts"], each["parked"]["waiting"]) for each in found if each["parked"]]

    def done() -> list[tuple[str, int, int]]:
        rows = [json.loads(r.value or b"") for p in (0, 1) for r in _read(kafka, f"{name}.shares", p)]
        return [(row["shop"], row["id"], row["count"]) for row in rows if row["shop"] == "a"]

    product.publish([_order(1), _order(2, amount=0), _order(3), _order(4), _order(5, shop="b")])
    assert _eventually(lambda: waiting() == [(1, 2)]), waiting()
    assert dlq("edit", "0", given=json.dumps(_order(2, amount=4)).encode())[0] == 0
    assert dlq("redrive", "--all")[0] == 1, "the worker dies with the transaction open"
    assert product.workers[0].wait(60) == -signal.SIGKILL
    product.start(1, **bus)  # restores what waits from the changelog
    worker = 1
    assert _eventually(lambda: waiting() == [(1, 2)]), waiting()
    assert json.loads(dlq("show", "0", "--json")[1])["parked"] == {"input": "orders", "waiting": 2}
    assert dlq("redrive", "--all")[0] == 0
    product.workers[1].kill()
    assert product.workers[1].wait(60) == -signal.SIGKILL
    product.start(0, **bus)  # has the store as it was
    worker = 0
    whole = [("a", number, number) for number in (1, 2, 3, 4)]
    assert _eventually(lambda: done() == whole), done()

    product.publish([_order(6, amount=0), _order(7)])
    assert _eventually(lambda: waiting() == [(1, 1)]), waiting()
    assert dlq("redrive", "--all")[0] == 0
    assert _eventually(lambda: waiting() == [(2, 1)]), "it fails again, and what waits goes on waiting"
    rows = product.query("orders.parked").json()["rows"]
    assert [(row["key"], row["value"]["failures"], row["value"]["waiting"]) for row in rows] == [("a", 2, 1)]
    figures = product.client().get("/metrics").text
    assert (
        f'streamflow_stream_parked_events{{partition="{_partition()}",stage="orders",topology="{name}"}} 1.0' in figures
    )
    assert dlq("discard", "--all")[0] == 0
    assert _eventually(lambda: done() == [*whole, ("a", 7, 5)]), done()
    assert waiting() == []
    told = [json.loads(record.value or b"") for record in _read(kafka, f"{name}.events")]
    said = [each["data"] for each in told if each["type"].startswith("KEY_")]
    assert [each.get("outcome", each.get("failures")) for each in said] == [1, "redriven", 1, 2, "discarded"]

    def proof() -> dict[str, Any]:
        done = CliRunner().invoke(app, ["audit", "verify", "--json"], env={"STREAMFLOW_BROKERS": kafka, **bus})
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert _eventually(lambda: proof()["partitions"][0]["proved"] >= len(told)), proof()
    assert proof()["findings"] == []


def _partition() -> int:
    return partition_of(b"a", 2)
