"""Restart after kill -9 with 1 M keys in state: `python -m bench.restart [--keys 1000000]`.

Time from starting the process to /readyz, once with the disk and once without it (the whole changelog is read).
"""

import argparse
import asyncio
import json
import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer

from bench import workload
from bench.processes import Contender, python
from streamflow.runtime.embedded.broker import EmbeddedBroker

_TOPOLOGY = """
topology: restart
schemas: {Reading: {sensor: str, ts: timestamp, value: float}}
nodes:
  readings: {kind: source, topic: restart.in, schema: Reading, event_time: ts, key: sensor, partitions: 4}
  day: {kind: window, input: readings, window: {type: tumbling, size: 1d}, aggregate: {n: count(), total: sum(value)}}
"""


async def _publish(bootstrap: str, keys: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19)
    await producer.start()
    batches = [producer.create_batch() for _ in range(workload.PARTITIONS)]
    for number in range(keys):
        key = b"sensor-%d" % number
        body = orjson.dumps({"sensor": key.decode(), "ts": workload.START_MS, "value": 1.5})
        partition = workload.partition_of(key)
        if batches[partition].append(timestamp=None, key=key, value=body) is None:
            await producer.send_batch(batches[partition], "restart.in", partition=partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(timestamp=None, key=key, value=body)
    for partition, batch in enumerate(batches):
        await producer.send_batch(batch, "restart.in", partition=partition)
    await producer.flush()
    await producer.stop()


class _Worker:
    def __init__(self, bootstrap: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        (folder / "topology.yaml").write_text(_TOPOLOGY)
        self._folder = folder
        self._environment = {
            "STREAMFLOW_BROKERS": bootstrap,
            "STREAMFLOW_STATE_DIR": str(folder / "state"),
            "STREAMFLOW_HTTP_PORT": str(self._port),
            "STREAMFLOW_LOG_LEVEL": "warning",
            "STREAMFLOW_SESSION_TIMEOUT_MS": "6000",
        }

    def start(self) -> float:
        """Seconds until it is ready."""
        command = python("-m", "streamflow", "run", str(self._folder), "--worker")
        started = time.monotonic()
        self.process = Contender(command, self._environment, self._folder / "log")
        while not self.get("/readyz").get("tasks"):
            time.sleep(0.02)
        while not self.get("/readyz").get("ready"):
            time.sleep(0.02)
        return time.monotonic() - started

    def get(self, path: str) -> dict:
        """JSON of a path, empty while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except OSError:
            return {}

    def kill(self) -> None:
        """kill -9, then wait out the session so that the group has noticed."""
        self.process.process.send_signal(signal.SIGKILL)
        self.process.process.wait()
        time.sleep(7)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = EmbeddedBroker.start(folder / "kafka", 0, print)
        try:
            (folder / "worker").mkdir()
            worker = _Worker(broker.bootstrap, folder / "worker")
            empty_s = worker.start()
            asyncio.run(_publish(broker.bootstrap, keys))
            while sum(t["lag"] or 0 for t in worker.get("/v1/topologies/restart")["tasks"]) or not _all_in(
                worker, keys
            ):
                time.sleep(0.2)
            worker.kill()
            warm_s = worker.start()
            worker.kill()
            shutil.rmtree(folder / "worker" / "state")
            cold_s = worker.start()
            worker.process.stop()
        finally:
            broker.stop()
    rate = keys / cold_s
    print(f"ready after a start without state {empty_s:.2f} s, with {keys:,} keys and the disk {warm_s:.2f} s,")
    print(f"without the disk {cold_s:.2f} s: {rate:,.0f} changelog records/s, the start of the process included")


def _all_in(worker: _Worker, keys: int) -> bool:
    tasks = worker.get("/v1/topologies/restart")["tasks"]
    return sum(task["nodes"]["readings"]["in"] for task in tasks if task["nodes"]) >= keys


if __name__ == "__main__":
    main()
