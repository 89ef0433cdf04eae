"""Files, SQLite and PostgreSQL behind a real worker and a real Kafka: kills around the commits, every row once.

A row that a database refuses is a dead letter, once as well.
"""

import asyncio
import json
import signal
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as parquet
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from typer.testing import CliRunner

from streamflow.cli.main import app
from tests.sinks import postgres
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, id: int, shop: str}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  wanted:  {{kind: filter, input: sales, where: id % 10 != 0}}
  lines:   {{kind: file_sink, input: wanted, roll_every: 300ms}}
  columns: {{kind: file_sink, input: wanted, format: parquet, roll_every: 300ms}}
  rows:    {{kind: sql_sink, input: wanted, url_env: SALES_URL, table: sales, roll_every: 50ms}}
  served:  {{kind: sql_sink, input: wanted, url_env: SERVED_URL, table: sales, roll_every: 50ms}}
"""
_BATCH = 3_000


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """URL of PostgreSQL; of another SQLite, with a loud warning, where there is no server."""
    if postgres.installed():
        with postgres.server() as url:
            yield url
    else:
        warnings.warn("no PostgreSQL on this machine: its sink is NOT tested", pytest.PytestWarning, stacklevel=1)
        yield f"sqlite:///{tmp_path / 'served.db'}"


async def _publish(kafka: str, topic: str, ids: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=1 << 18, linger_ms=5)
    await producer.start()
    try:
        for number in ids:
            value = json.dumps({"time": 1_000 + number, "id": number, "shop": f"s{number % 50}"}).encode()
            await producer.send(topic, value, key=f"s{number % 50}".encode())
        await producer.flush()
    finally:
        await producer.stop()


def _ids(url: str) -> list[int]:
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30) as database:
            return [number for (number,) in database.execute("SELECT id FROM sales")]
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM sales").fetchall()]


def _make_table(url: str) -> None:
    """It takes no id that ends with 03."""
    columns = "(time bigint NOT NULL, id bigint NOT NULL CHECK (id % 100 <> 3), shop text NOT NULL)"
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
            database.execute(f"CREATE TABLE sales {columns}")
    else:
        with psycopg.connect(url) as connection:
            connection.execute(f"CREATE TABLE sales {columns}")


async def _refused(kafka: str, topic: str) -> dict[str, Counter[int]]:
    """Ids in committed dead letters, by node."""
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    found: dict[str, Counter[int]] = {}
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(timeout_ms=500)).get(place, []):
                headers = dict(record.headers)
                assert (headers["sf-reason"], headers["sf-target"]) == (b"refused", b"sales")
                found.setdefault(headers["sf-node"].decode(), Counter())[json.loads(record.value)[2]] += 1
    finally:
        await consumer.stop()
    return found


def _redrive(product: Product, url: str) -> None:
    """Mend the table, where it can be done, and send its letters again."""
    if not url.startswith("postgresql"):
        return
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE sales DROP CONSTRAINT sales_id_check")
    command = ["dlq", "redrive", product.name, "--where", "node=served", "--json"]
    ran = CliRunner().invoke(app, [*command, "--url", f"http://127.0.0.1:{product.ports[0]}"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["refused"] == []


def _in_files(folder: Path) -> list[int]:
    found: list[int] = []
    for path in folder.glob("[!.]*"):
        if path.suffix == ".parquet":
            found += parquet.read_table(path).column("id").to_pylist()
        else:
            found += [json.loads(line)["id"] for line in path.read_text().splitlines()]
    return found


def test_every_row_is_outside_once_whatever_is_killed(
    product: Product, kafka: str, tmp_path: Path, served: str
) -> None:
    rows = f"sqlite:///{tmp_path / 'sales.db'}"
    places: dict[str, Callable[[], list[int]]] = {
        "lines": lambda: _in_files(tmp_path / "files" / f"{product.name}.lines"),
        "columns": lambda: _in_files(tmp_path / "files" / f"{product.name}.columns"),
        "rows": lambda: _ids(rows),
        "served": lambda: _ids(served),
    }
    environment: dict[str, Any] = {
        "STREAMFLOW_FILES_DIR": str(tmp_path / "files"), "SALES_URL": rows, "SERVED_URL": served,
    }  # fmt: skip
    for url in (rows, served):
        _make_table(url)
    product.start(0, **environment)
    asyncio.run(_publish(kafka, f"{product.name}.sales", range(_BATCH)))
    wanted = sum(number % 10 != 0 for number in range(_BATCH))
    _wait(lambda: len(places["rows"]()) >= wanted // 2, "rows come")
    product.stop(0, signal.SIGKILL)
    sent = _BATCH
    # Dies between what is prepared outside and Kafka's commit, and between the commit and what settles it.
    for faults in ("before_commit=crash:12", "after_commit=crash:25"):
        product.launch(0, STREAMFLOW_FAULTS=faults, **environment)
        asyncio.run(_publish(kafka, f"{product.name}.sales", range(sent, sent + _BATCH)))
        sent += _BATCH
        product.workers[0].wait(120)
        product.workers.pop(0)
    product.start(0, **environment)
    asyncio.run(_publish(kafka, f"{product.name}.sales", range(sent, sent + 100)))
    everything = Counter(number for number in range(sent + 100) if number % 10)
    refused = Counter(number for number in everything if number % 100 == 3)
    wanted_of = {name: everything if name in ("lines", "columns") else everything - refused for name in places}
    for name, read in places.items():
        count = len(wanted_of[name])
        _wait(lambda read=read, count=count: len(read()) >= count, f"all rows of {name}")  # type: ignore[misc]
    dead = {"rows": refused, "served": refused}
    _wait(lambda: asyncio.run(_refused(kafka, f"{product.name}.dead_letters")) == dead, "all letters")
    _redrive(product, served)
    if served.startswith("postgresql"):
        wanted_of["served"] = everything
        _wait(lambda: len(places["served"]()) >= len(everything), "rows that were sent again")
    assert product.stop(0) == 0
    assert asyncio.run(_refused(kafka, f"{product.name}.dead_letters")) == dead
    for name, read in places.items():
        found, expected = Counter(read()), wanted_of[name]
        assert found == expected, (name, list((found - expected).items())[:5], list((expected - found).items())[:5])
    assert [path.name for path in (tmp_path / "files").rglob(".*")] == []


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if until():
                return
        except (sqlite3.Error, psycopg.Error, OSError) as error:  # not there yet
            what = f"{what} ({error})"
        assert time.monotonic() < deadline, f"not within 60 s: {what}"
        time.sleep(0.2)
