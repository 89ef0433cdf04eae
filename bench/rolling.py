"""How long partitions stand still while workers are stopped, killed, started and scaled, as a StatefulSet does it; processes
on a real Kafka, under load. Prints a table, and whether each event came out once.

    python -m bench.rolling [--rate 5000] [--pod-s 1.5] [--settings STREAMFLOW_RETURN_WITHIN_MS=6000]

A partition stands still while records wait in it and the group commits nothing of it; sampled ten times a second.
"""

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer
from rich.console import Console

from bench.processes import Worker, machine
from streamflow.plan.planner import make_plan
from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.k8s.load import Progress, read_all

console = Console()
_PARTITIONS, _SHOPS, _CITIES = 6, 60, 25
_TICK_S, _ALONE_S, _AFTER_S, _ARRIVED_S = 0.1, 10.0, 3.0, 120.0
_TOPOLOGY = """
topology: rolling
schemas: {Sale: {id: int, time: timestamp, shop: str, city: str}}
nodes:
  sales:   {kind: source, topic: rolling.sales, schema: Sale, event_time: time, key: shop, partitions: 6, idle_after: 5s}
  passed:  {kind: sink, input: sales, topic: rolling.passed}
  by_city: {kind: key_by, input: sales, key: city}
  totals:  {kind: window, input: by_city, window: {type: tumbling, size: 10s}, aggregate: {n: count()}}
  out:     {kind: sink, input: totals, topic: rolling.totals}
"""


class Load:
    """Events at a steady rate, straight to Kafka, until it is stopped."""

    def __init__(self, bootstrap: str, rate: int) -> None:
        self.count = 0
        self._bootstrap, self._rate = bootstrap, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True)
        await producer.start()
        due = time.monotonic()
        while not self._stop.is_set():
            now_ms, batches = int(time.time() * 1_000), [producer.create_batch() for _ in range(_PARTITIONS)]
            for number in range(self.count, self.count + int(self._rate * _TICK_S)):
                shop, city = f"s{number % _SHOPS}", f"c{number * 7 % _CITIES}"
                body = orjson.dumps({"id": number, "time": now_ms, "shop": shop, "city": city})
                batches[number % _PARTITIONS].append(timestamp=None, key=shop.encode(), value=body)
            sent = [await producer.send_batch(each, "rolling.sales", partition=p) for p, each in enumerate(batches)]
            await asyncio.gather(*sent)
            self.count += int(self._rate * _TICK_S)
            due += _TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await producer.stop()


class Workers:
    """Numbered workers, each with an identity and a folder that stay."""

    def __init__(self, bootstrap: str, folder: Path, settings: dict[str, str], pod_s: float) -> None:
        self._bootstrap, self._folder, self._settings, self._pod_s = bootstrap, folder, settings, pod_s
        self._running: dict[int, Worker] = {}

    def _start(self, *numbers: int) -> None:
        for number in numbers:
            settings = {"STREAMFLOW_INSTANCE_ID": f"rolling-{number}", **self._settings}
            state, log = self._folder / f"state-{number}", self._folder / f"log-{number}"
            self._running[number] = Worker(self._bootstrap, self._folder, state, log, 10_000, settings=settings)
        for number in numbers:
            self._running[number].wait_ready()

    def scale(self, count: int) -> None:
        """All that are too many are stopped at once; all that are missing started at once."""
        gone = [worker for number, worker in self._running.items() if number >= count]
        for worker in gone:
            worker.process.terminate()
        for worker in gone:
            worker.process.wait(60)
        self._running = {number: worker for number, worker in self._running.items() if number < count}
        self._start(*(number for number in range(count) if number not in self._running))

    def upgrade(self) -> None:
        """One after the other, the last one first."""
        for number in sorted(self._running, reverse=True):
            self._running[number].process.terminate()
            self._running[number].process.wait(60)
            time.sleep(self._pod_s)
            self._start(number)

    def kill(self) -> None:
        """Number 1, by kill -9."""
        self._running[1].process.kill()
        self._running[1].process.wait()
        time.sleep(self._pod_s)
        self._start(1)


def run(bootstrap: str, folder: Path, chosen: argparse.Namespace) -> None:
    """The whole story."""
    (folder / "topology.yaml").write_text(_TOPOLOGY)
    asyncio.run(ensure_topics(make_plan(load_topology(folder)), load_settings(brokers=bootstrap)))
    workers = Workers(bootstrap, folder, dict(each.split("=", 1) for each in chosen.settings), chosen.pod_s)
    workers.scale(3)
    acts: dict[str, Callable[[], None]] = {
        "load alone": lambda: time.sleep(_ALONE_S),
        "upgrade of 3 workers": workers.upgrade,
        "kill -9": workers.kill,
        "from 3 to 6": lambda: workers.scale(6),
        "from 6 to 2": lambda: workers.scale(2),
    }
    console.print(machine())
    with (
        Load(bootstrap, chosen.rate) as load,
        Progress(bootstrap, "streamflow.rolling", "rolling.sales", 6) as progress,
    ):
        time.sleep(_ALONE_S)
        for what, act in acts.items():
            progress.longest_s()
            act()
            done = time.monotonic()
            while not progress.has_moved_since(done):
                time.sleep(_TICK_S)
            time.sleep(_AFTER_S)
            console.print(f"{what}: {progress.longest_s():.1f} s; load average {os.getloadavg()[0]:.0f}")
    deadline = time.monotonic() + _ARRIVED_S
    while len(seen := Counter(each["id"] for each in read_all(bootstrap, "rolling.passed"))) < load.count:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    doubled = sum(seen.values()) - len(seen)
    console.print(f"{load.count:,} events: {load.count - len(seen)} lost, {doubled} duplicated")
    workers.scale(0)


def main() -> None:
    """Start a broker and run."""
    parser = argparse.ArgumentParser(description="stalls of upgrades and scaling")
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--pod-s", type=float, default=1.5, help="between the end of a worker and its next start")
    parser.add_argument("--settings", nargs="*", default=[], help="of the workers, NAME=VALUE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        broker = EmbeddedBroker.start(Path(name) / "kafka", 0, console.print)
        try:
            run(broker.bootstrap, Path(name), chosen)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
