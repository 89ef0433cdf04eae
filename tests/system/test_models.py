"""Models on a real worker and a real Kafka: added by the command line to an object store that the worker reads, swapped
while it works, also around a kill.
"""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from typer.testing import CliRunner, Result

from streamflow.cli.main import app
from tests.inference.object_store import object_store
from tests.inference.trained import Trained, as_onnx, data, regression
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, x0: float, x1: float, x2: float, x3: float}}
nodes:
  sales:  {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  scored: {{kind: model, input: sales, model: m, task: regression, features: [x0, x1, x2, x3], registry: {name}.models}}
  out:    {{kind: sink, input: scored, topic: {name}.scored}}
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    monkeypatch.setenv("STREAMFLOW_MODELS_URL", "s3://shop/models")
    with object_store(monkeypatch):
        made = Product(kafka, tmp_path, unique, _TOPOLOGY)
        yield made
        made.kill()


def streamflow(kafka: str, folder: Path, *arguments: str) -> Result:
    """The command line, in this process."""
    environment = {"STREAMFLOW_BROKERS": kafka, "STREAMFLOW_MODELS_DIR": str(folder / "files")}
    return CliRunner().invoke(app, list(arguments), env=environment)


def add(kafka: str, folder: Path, registry: str, trained: Trained, *more: str) -> dict[str, Any]:
    """Write a model as its training would, and add it."""
    (folder / "model.bin").write_bytes(trained.data)
    card = {"task": trained.task, "inputs": [{"name": each.name, "type": each.type} for each in trained.inputs]}
    (folder / "card.json").write_text(json.dumps(card))
    arguments = ("models", "add", "m", str(folder / "model.bin"), "--card", str(folder / "card.json"), *more)
    done = streamflow(kafka, folder, *arguments, "--registry", registry, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def steeper() -> Trained:
    """Another model of the same inputs."""
    from sklearn.ensemble import GradientBoostingRegressor

    given, target = data()
    model = GradientBoostingRegressor(n_estimators=20, random_state=1).fit(given, 2 * target)
    first = regression()
    return Trained(
        first.task, as_onnx(model), first.inputs, first.rows,
        lambda rows: [(value,) for value in model.predict(given[: len(rows)]).tolist()],
    )  # fmt: skip


async def _output(kafka: str, topic: str, count: int) -> list[dict[str, Any]]:
    """So many committed rows, and whatever there is beyond them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(2)])
        rows: list[dict[str, Any]] = []
        deadline = time.monotonic() + 60
        while len(rows) < count and time.monotonic() < deadline:
            found = await consumer.getmany(timeout_ms=500)
            rows += [json.loads(record.value) for records in found.values() for record in records]
        found = await consumer.getmany(timeout_ms=1_000)
        return rows + [json.loads(record.value) for records in found.values() for record in records]
    finally:
        await consumer.stop()


def test_a_model_is_added_asked_swapped_and_survives_a_kill(product: Product, kafka: str, tmp_path: Path) -> None:
    registry, topic = f"{product.name}.models", f"{product.name}.scored"
    first, second = regression(), steeper()
    rows = first.rows[:100]
    truth = {"1": [value for (value,) in first.truth(rows)], "2": [value for (value,) in second.truth(rows)]}
    added = add(kafka, tmp_path, registry, first)
    assert (added["version"], added["format"]) == ("1", "onnx")
    product.start(0, STREAMFLOW_MODELS_DIR=str(tmp_path / "cache"))
    assert added["uri"] == f"s3://shop/models/{added['digest']}"
    sent = 0

    def publish(count: int) -> None:
        nonlocal sent
        names = ("x0", "x1", "x2", "x3")
        events = [
            {"time": 1_000 + place, "shop": f"s{place}"} | dict(zip(names, rows[place % 100], strict=True))
            for place in range(sent, sent + count)
        ]
        assert product.publish(events)["accepted"] == count
        sent += count

    publish(400)
    assert {row["model_version"] for row in asyncio.run(_output(kafka, topic, 400))} == {"1"}
    # A newer version, while it works: taken without a restart.
    assert add(kafka, tmp_path, registry, second)["version"] == "2"
    deadline = time.monotonic() + 60
    while True:
        publish(50)
        if {row["model_version"] for row in asyncio.run(_output(kafka, topic, sent))} == {"1", "2"}:
            break
        assert time.monotonic() < deadline, "version 2 was never used"
    publish(500)
    product.stop(0, signal.SIGKILL)
    product.start(0, STREAMFLOW_MODELS_DIR=str(tmp_path / "cache"))
    publish(200)
    found = asyncio.run(_output(kafka, topic, sent))
    assert sorted(row["shop"] for row in found) == sorted(f"s{place}" for place in range(sent))
    for row in found:
        expected = truth[row["model_version"]][int(row["shop"][1:]) % 100]
        assert abs(row["prediction"] - expected) < 1e-4 * max(1, abs(expected)), row
    last = [row["model_version"] for row in found if int(row["shop"][1:]) >= sent - 200]
    assert set(last) == {"2"}
    # What is known about it.
    metrics = product.client().get("/metrics").text
    assert f'streamflow_model_rows{{node="scored",stage="sales",topology="{product.name}",version="2"}}' in metrics
    models = product.client().get(f"/v1/topologies/{product.name}").json()["models"]
    assert (models["loads"], [(each["node"], each["version"]) for each in models["asked"]]) == (1, [("scored", "2")])
    table = product.query(registry).json()["rows"]
    assert [(row["key"], row["value"]["task"]) for row in table] == [("m@1", "regression"), ("m@2", "regression")]
    listed = json.loads(streamflow(kafka, tmp_path, "models", "list", "--registry", registry, "--json").stdout)
    assert [card["version"] for card in listed["models"]] == ["1", "2"]
    shown = streamflow(kafka, tmp_path, "models", "show", "m", "--registry", registry)
    assert "m@2" in shown.stdout
    for arguments, said in (
        (("show", "other"), "no model 'other'"),
        (("add", "m", str(tmp_path / "card.json"), "--task", "regression", "--inputs", "x:number"), "no linear model"),
        (("add", "m", str(tmp_path / "model.bin"), "--inputs", "x:number"), "add --task"),
        (
            ("add", "m", str(tmp_path / "model.bin"), "--card", str(tmp_path / "card.json"), "--version", "1"),
            "never change",
        ),
    ):
        refused = streamflow(kafka, tmp_path, "models", *arguments, "--registry", registry)
        assert refused.exit_code != 0, arguments
        assert said in " ".join(refused.output.split()), refused.output
