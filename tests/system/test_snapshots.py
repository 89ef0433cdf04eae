"""The state of a running topology, kept, and a run that goes on from it when the events before are gone."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.checkpoint.progress import RESTORING
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import into_run
from streamflow.runtime.runs import begin, commit_offsets, group_of, read_record
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_COUNT = 1_000


def _sales(first: int) -> list[dict[str, Any]]:
    return [
        {"time": 1_000 + number % 900, "shop": f"s{number % 11}", "city": f"c{number % 7}", "amount": number}
        for number in range(first, first + _COUNT)
    ]


def _take(product: Product) -> dict[str, Any]:
    """In the middle of the work, so that rows lie between the stages."""
    command = [sys.executable, "-m", "streamflow", "snapshots", "take", product.name, "--pause", "--json"]
    environment = {**os.environ, "STREAMFLOW_URL": f"http://127.0.0.1:{product.ports[0]}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout[done.stdout.index('{\n  "id"') : done.stdout.index("}") + 1]))


def _totals(product: Product) -> list[Any]:
    rows = product.query("totals", limit=1000).json().get("rows", [])
    return sorted((row["key"], row["start"], row["value"]["n"], row["value"]["total"]) for row in rows)


def _wanted(sales: list[dict[str, Any]]) -> list[Any]:
    cities = sorted({sale["city"] for sale in sales})
    by_city = {city: [sale["amount"] for sale in sales if sale["city"] == city] for city in cities}
    return [(city, 1_000, len(amounts), sum(amounts)) for city, amounts in by_city.items()]


def _until(product: Product, wanted: list[Any]) -> None:
    deadline = time.monotonic() + 60
    while (found := _totals(product)) != wanted:
        assert time.monotonic() < deadline, (found, wanted)
        time.sleep(0.1)


async def _forget(kafka: str, starts: dict[tuple[str, int], int]) -> None:
    """Delete what came before the snapshot from the sources."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    places = {TopicPartition(*place): RecordsToDelete(before_offset=offset) for place, offset in starts.items()}
    await admin.delete_records({place: each for place, each in places.items() if each.before_offset})
    await admin.close()


def test_a_run_goes_on_from_a_snapshot_as_if_nothing_had_happened(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(kafka, tmp_path, unique)
    path, place = f"/v1/topologies/{unique}/snapshots", {"STREAMFLOW_SNAPSHOTS_URL": f"file://{tmp_path / 'kept'}"}
    (tmp_path / "kept").mkdir()
    (tmp_path / "restored").mkdir()
    restored = Product(kafka, tmp_path / "restored", unique)
    restored.options = ("--into", "again")
    settings, plan = load_settings(brokers=kafka), make_plan(load_topology(tmp_path))
    run = into_run(plan, "again")
    try:
        product.start(0, **place)
        client = product.client()
        assert client.post(path).json()["title"] == "illegal_move", "it does not stand still"
        product.publish(_sales(0))
        snapshot = _take(product)
        product.publish(_sales(_COUNT))
        both = _wanted(_sales(0) + _sales(_COUNT))
        _until(product, both)
        assert [each["id"] for each in client.get(path).json()["snapshots"]] == [snapshot["id"]]
        assert client.post(f"{path}/nope/restore", json={"into": "again"}).status_code == 409
        answer = client.post(f"{path}/{snapshot['id']}/restore", json={"into": "again"})
        assert answer.status_code == 201, answer.text
        assert client.post(f"{path}/{snapshot['id']}/restore", json={"into": "again"}).status_code == 409

        record = asyncio.run(read_record(run, settings))
        assert record is not None
        assert sum(record.starts.values()) > 0
        asyncio.run(_forget(kafka, record.starts))
        restored.start(0, **place)
        _until(restored, both)
        restored.publish(_sales(2 * _COUNT))
        wanted = _wanted([sale for first in range(3) for sale in _sales(first * _COUNT)])
        for each in (restored, product):
            _until(each, wanted)

        restored.client().post(f"/v1/topologies/{unique}/pause", params={"timeout_ms": "10000"}, json={})
        later = _take(restored)
        state = restored.client().get(f"/v1/topologies/{unique}/state").json()
        assert state["state"] == "paused", "it was not the snapshot that paused it"
        answer = client.post(f"{path}/{later['id']}/restore", json={"into": "later"})
        assert answer.status_code == 201, answer.text
    finally:
        product.kill()
        restored.kill()


def test_a_restore_that_was_interrupted_is_no_beginning(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(kafka, tmp_path, unique)
    settings = load_settings(brokers=kafka)
    run = into_run(make_plan(load_topology(tmp_path)), "torn")

    async def act() -> None:
        from streamflow.runtime.topics import ensure_topics

        await ensure_topics(run, settings)
        places = [TopicPartition(f"{unique}.sales", partition) for partition in range(3)]
        torn = {place: OffsetAndMetadata(0, RESTORING) for place in places}
        await commit_offsets(settings, group_of(run, settings), torn)
        with pytest.raises(UserError, match="reset"):
            await begin(run, settings, None, bounded=False)

    asyncio.run(act())
    product.options = ("--into", "torn")
    product.launch(0)
    try:
        assert product.workers[0].wait(120) != 0
        told = (tmp_path / "worker-0.log").read_text()
        assert "a restore of a snapshot did not get to its end" in told, told
    finally:
        product.kill()
