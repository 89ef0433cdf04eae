"""Restart after kill -9 with many keys in state: time from starting the process to /readyz, with the disk and without."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer

from bench import workload
from bench.processes import Worker

_LOADED_S = 300.0
_TOPOLOGY = """
topology: {name}
schemas: {{Reading: {{sensor: str, ts: timestamp, value: float}}}}
nodes:
  readings: {{kind: source, topic: {name}.in, schema: Reading, event_time: ts, key: sensor, partitions: 4}}
  day: {{kind: window, input: readings, window: {{type: tumbling, size: 1d}}, aggregate: {{n: count(), total: sum(value)}}}}
"""


@dataclass(frozen=True)
class Restart:
    """Seconds from the start of the process until it is ready: without any state, with the disk, without the disk."""

    keys: int
    empty_s: float
    warm_s: float
    cold_s: float


def measure(bootstrap: str, folder: Path, keys: int, round_number: int) -> Restart:
    """One round with a topology of its own."""
    name = f"restart_{round_number}"
    home = folder / name
    home.mkdir()
    (home / "topology.yaml").write_text(_TOPOLOGY.format(name=name))

    def start() -> tuple[Worker, float]:
        started = time.monotonic()
        worker = Worker(bootstrap, home, home / "state", home / "log")
        worker.wait_ready()
        return worker, time.monotonic() - started

    worker, empty_s = start()
    try:
        asyncio.run(_publish(bootstrap, f"{name}.in", keys))
        _wait_loaded(worker, name, keys)
        worker.kill()
        worker, warm_s = start()
        worker.kill()
        shutil.rmtree(home / "state")
        worker, cold_s = start()
    finally:
        worker.stop()
    return Restart(keys, empty_s, warm_s, cold_s)


def _wait_loaded(worker: Worker, name: str, keys: int) -> None:
    deadline = time.monotonic() + _LOADED_S
    while True:
        tasks = worker.get(f"/v1/topologies/{name}").get("tasks", [])
        seen = sum(task["nodes"]["readings"]["in"] for task in tasks if task["nodes"])
        if seen >= keys and not any(task["lag"] for task in tasks):
            time.sleep(1)  # the last checkpoint is on its way
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{seen:,} of {keys:,} events were processed within {_LOADED_S:.0f} s, see {worker.log}")
        time.sleep(0.2)


async def _publish(bootstrap: str, topic: str, keys: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19)
    await producer.start()
    batches = [producer.create_batch() for _ in range(workload.PARTITIONS)]
    for number in range(keys):
        key = b"sensor-%d" % number
        body = orjson.dumps({"sensor": key.decode(), "ts": workload.START_MS, "value": 1.5})
        partition = workload.partition_of(key)
        if batches[partition].append(timestamp=None, key=key, value=body) is None:
            await producer.send_batch(batches[partition], topic, partition=partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(timestamp=None, key=key, value=body)
    for partition, batch in enumerate(batches):
        await producer.send_batch(batch, topic, partition=partition)
    await producer.flush()
    await producer.stop()
