"""Predictions of one process, end to end on a real Kafka: `python -m bench.models`.

JSON events → gradient-boosted trees as ONNX (60 trees of depth 4 over 8 numbers) → JSON rows, exactly once. All events are
there before the worker starts to read; the time is from its first to its last committed checkpoint, and CPU that of its
process in that time. Every prediction is compared with onnxruntime's own for the same numbers.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingRegressor

from bench.processes import Worker, machine
from bench.workload import PARTITIONS, create_topics
from streamflow.inference.card import InputType, ModelCard, ModelInput, Task
from streamflow.inference.files import ModelFiles
from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.model_registry import add_card
from streamflow.settings.settings import load_settings

NUMBERS = 8
_FIELDS = [f"x{place}" for place in range(NUMBERS)]
_TOPOLOGY = f"""
topology: predictions
schemas:
  Row: {{id: int, {", ".join(f"{name}: float" for name in _FIELDS)}}}
nodes:
  rows:   {{kind: source, topic: predictions.in, schema: Row, key: id}}
  scored: {{kind: model, input: rows, model: trees, task: regression, features: [{", ".join(_FIELDS)}]}}
  out:    {{kind: sink, input: scored, topic: predictions.out}}
"""


def train() -> bytes:
    """The model's file."""
    chance = np.random.default_rng(1)
    given = chance.normal(size=(5_000, NUMBERS)).astype(np.float32)
    target = given[:, 0] * 3 + given[:, 1] ** 2 + given[:, 2] * given[:, 3]
    model = GradientBoostingRegressor(n_estimators=60, max_depth=4, random_state=1).fit(given, target)
    return bytes(to_onnx(model, given[:1], target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString())


async def publish(bootstrap: str, given: np.ndarray) -> None:
    """All events, round robin over the partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19, linger_ms=5)
    await producer.start()
    now_ms = int(time.time() * 1_000)
    for partition in range(PARTITIONS):
        batch = producer.create_batch()
        for number in range(partition, len(given), PARTITIONS):
            row = dict(zip(_FIELDS, given[number].tolist(), strict=True))
            value = orjson.dumps({"id": number} | row)
            if batch.append(timestamp=now_ms, key=str(number).encode(), value=value) is None:
                await producer.send_batch(batch, "predictions.in", partition=partition)
                batch = producer.create_batch()
                batch.append(timestamp=now_ms, key=str(number).encode(), value=value)
        await producer.send_batch(batch, "predictions.in", partition=partition)
    await producer.flush()
    await producer.stop()


async def collect(bootstrap: str, count: int, worker: Worker) -> tuple[dict[int, float], int, float, float]:
    """(prediction by id, rows that came again, seconds, CPU seconds) from the first to the last committed row."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition("predictions.out", each) for each in range(PARTITIONS)])
    values: list[bytes] = []
    first = last = 0.0
    first_count = 0
    cpu_s = 0.0
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and (len(values) < count or time.monotonic() - last < 3):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            values += [record.value for record in records]
            last = time.monotonic()
        if values and not first:
            first, first_count, cpu_s = time.monotonic(), len(values), -worker.usage().cpu_s
        if len(values) >= count and cpu_s < 0:
            cpu_s += worker.usage().cpu_s
    await consumer.stop()
    rows = [orjson.loads(value) for value in values]
    found = {row["id"]: row["prediction"] for row in rows}
    share = count / max(1, count - first_count)
    return found, len(rows) - len(found), (last - first) * share, cpu_s * share


def main() -> None:
    """Run once, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    count = parser.parse_args().events
    given = np.round(np.random.default_rng(2).normal(size=(count, NUMBERS)), 3)
    data = train()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several threads add the trees up in another order
    session = onnxruntime.InferenceSession(data, options)
    truth = session.run(None, {session.get_inputs()[0].name: given.astype(np.float32)})[0].reshape(-1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "topology.yaml").write_text(_TOPOLOGY)
        os.environ["STREAMFLOW_MODELS_DIR"] = str(folder / "models")
        broker = EmbeddedBroker.start(folder / "kafka", 0, print)
        try:
            asyncio.run(create_topics(broker.bootstrap, ["predictions.in", "predictions.out"]))
            asyncio.run(publish(broker.bootstrap, given))
            settings = load_settings(brokers=broker.bootstrap)
            inputs = tuple(ModelInput(each, InputType.NUMBER) for each in _FIELDS)
            digest = ModelFiles(settings.models_dir).add(data)
            card = ModelCard("trees", "1", "onnx", Task.REGRESSION, digest, len(data), inputs)
            asyncio.run(add_card(settings, "streamflow.models", card))
            worker = Worker(broker.bootstrap, folder, folder / "state", folder / "worker.log")
            try:
                found, repeated, spent_s, cpu_s = asyncio.run(collect(broker.bootstrap, count, worker))
            finally:
                worker.stop()
        finally:
            broker.stop()
    wrong = sum(found.get(number) != expected for number, expected in enumerate(truth.tolist()))
    print(f"model of {len(data):,} bytes; {machine()}")
    print(
        f"{count:,} predictions in {spent_s:.1f} s: {count / spent_s:,.0f} a second, {cpu_s / count * 1e6:.1f} µs of CPU each"
    )
    print(f"{wrong} differ from the model's own, {repeated} came again")
    if wrong or repeated:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
