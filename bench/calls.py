"""Calls to the outside in one worker on a real Kafka: `python -m bench.calls nodes|requests`.

nodes     1,000 async nodes, each with one call that ends in 3 s and one that never does: all are answered or time out
requests  10,000 requests at once through one http_request with breaker and pool: the server hangs first, then resets,
          answers 500, 429 and 404, hangs or answers, by the number of the row; each row gives one row or one letter

CPU, peak memory and threads are those of the worker's process, from /proc.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from bench.processes import Worker, machine
from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.calls.server import in_a_thread

_NODES, _GROUP = 1_000, 20
_REQUESTS = 10_000
_MODULE = """
import asyncio
from streamflow.kit import Row


class Asked(Row):
    number: int
    wait_ms: int


async def waits(row: Asked) -> Asked:
    await asyncio.sleep(row.wait_ms / 1_000)
    return row
"""
_HEAD = """
topology: calls
schemas: {Asked: {number: int, wait_ms: int}}
nodes:
  asked: {kind: source, topic: calls.in, schema: Asked, partitions: 1}
"""
_REQUEST = """
  called:
    kind: http_request
    input: asked
    url: "%s/{number}"
    response: {double: int}
    concurrency: 10000
    connections: 10000
    resilience:
      timeout: 20s
      retry: {attempts: 3, base: 200ms, cap: 2s}
      breaker: {failures: 100, open_for: 1s}
  out: {kind: sink, input: called, topic: calls.out, partitions: 1}
"""
#: What becomes of a row by its number in a thousand: reason and status of its letter.
_LETTERS = {0: "status 500", 1: "unreachable", 2: "status 404", 3: "timeout"}


class Server:
    """Hangs while `hangs`; then what `_LETTERS` says, and 429 once for every tenth row, with Retry-After."""

    def __init__(self) -> None:
        self.hangs = True
        self.open = self.most_open = self.requests = 0
        self.told_to_wait: set[int] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._by_number(request)
        finally:
            self.open -= 1

    async def _by_number(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        if self.hangs or number % 1_000 == 3:
            await asyncio.sleep(3_600)
        if number % 1_000 == 0:
            return web.Response(status=500)
        if number % 1_000 == 1:
            assert request.transport is not None
            request.transport.abort()
        if number % 1_000 == 2:
            return web.Response(status=404)
        if number % 10 == 9 and number not in self.told_to_wait:
            self.told_to_wait.add(number)
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.json_response({"double": number * 2})


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Its URL."""
    app = web.Application()
    app.router.add_get("/{number}", server.answer)
    with in_a_thread(app, handler_cancellation=True) as url:
        yield url


async def publish(bootstrap: str, rows: list[dict[str, int]]) -> None:
    """All rows into the source."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    await producer.start()
    for row in rows:
        await producer.send("calls.in", orjson.dumps(row))
    await producer.flush()
    await producer.stop()


async def read(bootstrap: str, topic: str) -> list[Any]:
    """Every committed record."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    end = (await consumer.end_offsets([place]))[place]
    found: list[Any] = []
    while await consumer.position(place) < end:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            found += records
    await consumer.stop()
    return found


class Watch:
    """Figures of the worker, looked at while it works. slowest_s: the longest that its HTTP took to answer."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.most_under_way = self.most_threads = 0
        self.slowest_s = 0.0
        self.calls: dict[str, Any] = {}

    def until(self, done: Callable[["Watch"], bool], limit_s: float = 300) -> None:
        """Look until it is so. Raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while not done(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not end; {self.sum('answered')} answered, see {self._worker.log}")
            began = time.monotonic()
            self.calls = self._worker.get("/v1/topologies/calls").get("calls") or self.calls
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.most_under_way = max(self.most_under_way, self.sum("under_way"))
            status = Path(f"/proc/{self._worker.process.pid}/status").read_text()
            threads = next(line for line in status.splitlines() if line.startswith("Threads"))
            self.most_threads = max(self.most_threads, int(threads.split()[1]))
            time.sleep(0.2)

    def sum(self, count: str) -> int:
        """A count over all nodes."""
        return sum(each[count] for each in self.calls.values())

    @property
    def failed(self) -> int:
        """Attempts that failed."""
        return sum(sum(each["failed"].values()) for each in self.calls.values())

    def tell(self, began: float, began_cpu_s: float) -> None:
        """Print the figures."""
        usage = self._worker.usage()
        print(
            f"{time.monotonic() - began:.1f} s, {usage.cpu_s - began_cpu_s:.1f} s of CPU; at most {self.most_under_way:,} "
            f"calls at once, {self.most_threads} threads, {usage.peak_bytes / 2**20:.0f} MiB; "
            f"its HTTP answered within {self.slowest_s:.1f} s"
        )


def nodes(bootstrap: str, worker: Worker) -> bool:
    """Two events through 1,000 nodes; whether all calls ended as they should."""
    watch, began, cpu_s = Watch(worker), time.monotonic(), worker.usage().cpu_s
    rows = [{"number": 1, "wait_ms": 3_000}, {"number": 2, "wait_ms": 3_600_000}]
    asyncio.run(publish(bootstrap, rows))
    watch.until(lambda seen: seen.sum("answered") + seen.failed >= 2 * _NODES and not seen.sum("under_way"))
    watch.tell(began, cpu_s)
    ended = watch.sum("answered"), watch.failed
    print(f"{ended[0]:,} calls of {_NODES:,} nodes were answered, {ended[1]:,} timed out")
    return ended == (_NODES, _NODES)


def requests(bootstrap: str, worker: Worker, server: Server) -> bool:
    """10,000 rows; whether each became what its number says, once."""
    watch, began, cpu_s = Watch(worker), time.monotonic(), worker.usage().cpu_s
    asyncio.run(publish(bootstrap, [{"number": number, "wait_ms": 0} for number in range(_REQUESTS)]))
    watch.until(lambda seen: server.most_open >= _REQUESTS or seen.failed > 0, 120)
    watch.until(lambda seen: "open" in str([each["circuits"] for each in seen.calls.values()]), 120)
    hung = server.requests
    time.sleep(3)
    print(f"{server.most_open:,} requests hung at once; the circuit opened, {server.requests - hung} more came in 3 s")
    server.hangs = False

    def all_there(_: Watch) -> bool:
        return (
            len(asyncio.run(read(bootstrap, "calls.out"))) + len(asyncio.run(read(bootstrap, "calls.dead_letters")))
            >= _REQUESTS
        )

    watch.until(all_there)
    watch.tell(began, cpu_s)
    found = Counter(orjson.loads(record.value)["number"] for record in asyncio.run(read(bootstrap, "calls.out")))
    letters: Counter[str] = Counter()
    for record in asyncio.run(read(bootstrap, "calls.dead_letters")):
        headers = {name: value.decode() for name, value in record.headers}
        letters[" ".join(filter(None, (headers["sf-reason"], headers.get("sf-status"))))] += 1
    expected = Counter(number for number in range(_REQUESTS) if number % 1_000 not in _LETTERS)
    print(
        f"{found.total():,} rows, {dict(letters)}; {server.requests:,} requests, {len(server.told_to_wait):,} answered 429"
    )
    return found == expected and letters == Counter(dict.fromkeys(_LETTERS.values(), _REQUESTS // 1_000))


def main() -> None:
    """Run one of them, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["nodes", "requests"])
    what = parser.parse_args().what
    server = Server()
    with tempfile.TemporaryDirectory() as name, serving(server) as url:
        folder = Path(name)
        os.environ["STREAMFLOW_OUTBOUND_NETWORKS"] = "127.0.0.0/8"
        os.environ["PYTHONPATH"] = os.pathsep.join((name, os.getcwd()))
        (folder / "waiting_nodes.py").write_text(_MODULE)
        text = _HEAD + (_REQUEST % url if what == "requests" else _many_nodes())
        (folder / "topology.yaml").write_text(text)
        broker = EmbeddedBroker.start(folder / "kafka", 0, print)
        try:
            began = time.monotonic()
            worker = Worker(broker.bootstrap, folder, folder / "state", folder / "worker.log", 30_000)
            try:
                worker.wait_ready(300)
                print(f"ready after {time.monotonic() - began:.0f} s; {machine()}")
                right = (
                    nodes(broker.bootstrap, worker) if what == "nodes" else requests(broker.bootstrap, worker, server)
                )
            finally:
                worker.stop()
        finally:
            broker.stop()
    if not right:
        raise SystemExit("not as it should be")


def _many_nodes() -> str:
    calls = [
        f'  n{n}: {{kind: python, input: asked, call: "waiting_nodes:waits", resilience: {{timeout: 10s, retry: {{attempts: 1}}}}}}'
        for n in range(_NODES)
    ]
    sinks = [
        f"  o{first}: {{kind: sink, inputs: [{', '.join(f'n{n}' for n in range(first, first + _GROUP))}], topic: calls.out, partitions: 1}}"
        for first in range(0, _NODES, _GROUP)
    ]
    return "\n".join([*calls, *sinks])


if __name__ == "__main__":
    main()
