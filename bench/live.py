"""From an event sent over HTTP to the delta at clients of a live table, and what clients cost the data path. Writes
LIVE.md beside this file.

    python -m bench.live [--rate 2000] [--subscribers 200] [--seconds 20] [--events 3000000] [--parts latency,steps,cost]

Latency: one worker, exactly once, a window of 10 s with `emit: update`. Events go in over HTTP, 20 to a request, each with
its number; a delta shows the highest number of its key. Measured from the moment the request is sent. Two clients follow the
whole table and are timed, one per protocol; the others follow a key each (or, with --all, the whole table).
Meanwhile events are appended to the bus, and followed by a client per protocol (live_bus.py).
Steps: the same with a worker that stamps events on their way (live_steps.py).
Cost: the worker works through events that are written straight to Kafka, with and without the same clients.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer
from rich.console import Console
from websockets.asyncio.client import connect

from bench import live_bus, live_steps
from bench.plain_http import Connection
from bench.processes import Contender, Worker, machine, python, usage_of
from bench.workload import PARTITIONS, partition_of
from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.web.server_sent_events import read_events

console = Console()
KEYS = 500
BATCH = 20
#: Of the publisher; each has one request on its way.
_CONNECTIONS = 50
#: A broker that was just started compiles its code for half a minute, which takes half of its time.
_WARM_UP_S = 30
_ARRIVED_S = 60.0
_TOPOLOGY = """
topology: {name}
schemas: {{Reading: {{sensor: str, ts: timestamp, number: int}}}}
nodes:
  readings: {{kind: source, topic: {name}.in, schema: Reading, event_time: ts, key: sensor, partitions: 4}}
  newest:   {{kind: window, input: readings, window: {{type: tumbling, size: 10s}}, aggregate: {{n: count(), newest: max(number)}}, emit: update, retention: 1m}}
  out:      {{kind: sink, input: newest, topic: {name}.out}}
"""


@dataclass
class Waits:
    """Seconds from sending to a delta, by client.

    sent: when each event was sent. bus: of events of the bus meanwhile. shown_at: when a client was shown it first. shares: CPU seconds per process.
    """

    sent: list[float] = field(default_factory=list)
    shown: dict[str, list[float]] = field(default_factory=dict)
    shown_at: dict[int, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    bus: live_bus.BusWaits = field(default_factory=live_bus.BusWaits)

    def show(self, client: str, changes: list[dict[str, object]], highest: dict[str, int]) -> None:
        """A client saw changes; every event of a key up to the newest one is shown by them."""
        now = time.perf_counter()
        for change in changes:
            for row in change["rows"]:  # type: ignore[attr-defined]
                key, newest = row["key"], row["value"]["newest"]
                number = highest.get(key, int(key[1:]) - KEYS) + KEYS
                while number <= newest:
                    self.shown[client].append(now - self.sent[number])
                    self.shown_at.setdefault(number, now)
                    highest[key] = number
                    number += KEYS


def _start(bootstrap: str, folder: Path, name: str, stamps: Path | None = None) -> Worker:
    topology = folder / name
    topology.mkdir()
    (topology / "topology.yaml").write_text(_TOPOLOGY.format(name=name))
    program = ("streamflow",) if stamps is None else ("bench.live_steps", str(stamps))
    state, log = folder / f"{name}-state", folder / f"{name}.log"
    return Worker(bootstrap, topology, state, log, session_timeout_ms=60_000, program=program)


def _readers(worker: Worker, name: str, count: int, how: str, folder: Path) -> Contender:
    port = str(worker.port)
    return Contender(
        python("-m", "bench.live_readers", port, name, str(count), how), {}, folder / f"{name}-readers.log"
    )


# -- latency ----------------------------------------------------------------------------------------------------------


async def latency(
    broker: EmbeddedBroker, folder: Path, chosen: argparse.Namespace, stamps: Path | None = None
) -> tuple[Waits, int]:
    """Waits of the timed clients, and the events sent behind the warm-up. `stamps`: where the worker writes its."""
    name = "live_steps" if stamps else "live_latency"
    worker = _start(broker.bootstrap, folder, name, stamps)
    waits = Waits(shown={"SSE": [], "WebSocket": []})
    readers = None
    try:
        await asyncio.to_thread(worker.wait_ready)
        readers = _readers(worker, name, chosen.subscribers - 2, "all" if chosen.all else "key", folder)
        clients = [
            asyncio.create_task(_by_events(worker.port, name, waits)),
            asyncio.create_task(_by_socket(worker.port, waits)),
            asyncio.create_task(live_bus.by_events(worker.port, name, waits.bus)),
            asyncio.create_task(live_bus.by_socket(worker.port, name, waits.bus)),
        ]
        await asyncio.to_thread(_wait_connected, readers)
        before = _cpu_s(worker, readers, broker)
        seconds = chosen.seconds + _WARM_UP_S
        await asyncio.gather(
            _send(worker.port, name, chosen, waits),
            live_bus.append(broker.bootstrap, name, seconds, waits.bus),
        )
        waits.shares = {who: after - before[who] for who, after in _cpu_s(worker, readers, broker).items()}
        total = len(waits.sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ARRIVED_S):
                while min(map(len, waits.shown.values())) < total:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        for client in clients:
            client.cancel()
        return waits, total
    finally:
        if readers is not None:
            readers.stop()
        worker.stop()


def _cpu_s(worker: Worker, readers: Contender, broker: EmbeddedBroker) -> dict[str, float]:
    assert broker.process is not None
    return {
        "worker": worker.usage().cpu_s,
        "broker": usage_of(broker.process.pid).cpu_s,
        "publisher and two clients": time.process_time(),
        "other clients": readers.usage().cpu_s,
    }


def _wait_connected(readers: Contender) -> None:
    deadline = time.monotonic() + _ARRIVED_S
    while "connected" not in readers.log.read_text():
        if time.monotonic() > deadline or readers.process.poll() is not None:
            raise RuntimeError(f"the clients are not connected, see {readers.log}")
        time.sleep(0.1)


async def _by_events(port: int, name: str, waits: Waits) -> None:
    highest: dict[str, int] = {}
    async for event in read_events(Connection(port).lines(f"/v1/topologies/{name}/tables/newest/live")):
        waits.show("SSE", orjson.loads(event.data)["changes"], highest)


async def _by_socket(port: int, waits: Waits) -> None:
    highest: dict[str, int] = {}
    async with connect(f"ws://127.0.0.1:{port}/v1/ws", max_size=None, compression=None) as socket:
        await socket.send(json.dumps({"type": "subscribe", "id": "a", "table": "newest"}))
        async for text in socket:
            message = orjson.loads(text)
            if "changes" in message:
                waits.show("WebSocket", message["changes"], highest)


async def _send(port: int, name: str, chosen: argparse.Namespace, waits: Waits) -> None:
    """Events at the rate; the key of event n is n modulo the number of keys."""
    count = chosen.rate * (chosen.seconds + _WARM_UP_S)
    connections: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(_CONNECTIONS):
        connections.put_nowait(Connection(port))

    async def post(first: int) -> None:
        now_ms = int(time.time() * 1_000)
        events = [{"sensor": f"s{n % KEYS}", "ts": now_ms, "number": n} for n in range(first, first + BATCH)]
        connection = await connections.get()
        status, answer = await connection.post(f"/v1/topics/{name}.in/events", orjson.dumps(events))
        while status == 503:  # busy: the wait counts
            await asyncio.sleep(0.02)
            status, answer = await connection.post(f"/v1/topics/{name}.in/events", orjson.dumps(events))
        connections.put_nowait(connection)
        assert orjson.loads(answer)["accepted"] == BATCH, answer

    async with asyncio.TaskGroup() as group:
        started = time.perf_counter()
        for first in range(0, count, BATCH):
            await asyncio.sleep(max(0.0, started + first / chosen.rate - time.perf_counter()))
            waits.sent += [time.perf_counter()] * BATCH
            group.create_task(post(first))
    while not connections.empty():
        connections.get_nowait().close()


# -- cost -------------------------------------------------------------------------------------------------------------


async def cost(
    bootstrap: str, folder: Path, chosen: argparse.Namespace, with_readers: bool, number: int
) -> tuple[float, float]:
    """Events per second of wall time and CPU µs per event, while the worker works through a full topic."""
    name = f"live_cost_{number}"
    worker = _start(bootstrap, folder, name)
    readers = None
    try:
        await asyncio.to_thread(worker.wait_ready)
        if with_readers:
            readers = _readers(worker, name, chosen.subscribers, "all" if chosen.all else "two", folder)
            await asyncio.to_thread(_wait_connected, readers)
        worker.pause()
        await _fill(bootstrap, f"{name}.in", chosen.events)
        before, started = worker.usage().cpu_s, time.perf_counter()
        worker.go_on()
        while True:
            view = await asyncio.to_thread(worker.get, f"/v1/topologies/{name}")
            if sum(sum(task["positions"].values()) for task in view.get("tasks", [])) >= chosen.events:
                break
            await asyncio.sleep(0.2)
        took = time.perf_counter() - started
        return chosen.events / took, (worker.usage().cpu_s - before) / chosen.events * 1e6
    finally:
        if readers is not None:
            readers.stop()
        worker.stop()


async def _fill(bootstrap: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19, linger_ms=0)
    await producer.start()
    now_ms = int(time.time() * 1_000)
    keys = [f"s{number}".encode() for number in range(KEYS)]
    places = [partition_of(key) for key in keys]
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    sends = []
    for number in range(count):
        key, place = keys[number % KEYS], places[number % KEYS]
        body = b'{"sensor":"%s","ts":%d,"number":%d}' % (key, now_ms, number)
        if batches[place].append(timestamp=now_ms, key=key, value=body) is None:
            sends.append(await producer.send_batch(batches[place], topic, partition=place))
            batches[place] = producer.create_batch()
            batches[place].append(timestamp=now_ms, key=key, value=body)
    for place, batch in enumerate(batches):
        sends.append(await producer.send_batch(batch, topic, partition=place))
    await asyncio.gather(*sends)
    await producer.stop()


# -- report -----------------------------------------------------------------------------------------------------------


def _latency_lines(waits: Waits, total: int, chosen: argparse.Namespace) -> list[str]:
    lines = ["| client | p50 ms | p99 ms | events | missing |", "| --- | --- | --- | --- | --- |"]
    for client, shown in waits.shown.items():
        kept = shown[_WARM_UP_S * chosen.rate :]
        cuts = statistics.quantiles(kept, n=100)
        lines.append(
            f"| {client} | {cuts[49] * 1e3:.0f} | {cuts[98] * 1e3:.0f} | {len(kept):,} | {total - len(shown)} |"
        )
    spent = ", ".join(f"{who} {cpu_s / total * 1e6:.0f}" for who, cpu_s in waits.shares.items())
    lines.append(f"\nCPU µs per event: {spent}.")
    return lines


def run(chosen: argparse.Namespace, broker: EmbeddedBroker, folder: Path) -> str:
    """The report."""
    what = "the whole table" if chosen.all else "a key"
    lines = [
        f"# Live tables\n\n{machine()}; broker, worker, publisher and clients share it. `python -m bench.live`\n",
        f"{chosen.subscribers} clients in one process, two of the whole table, the others of {what}; {KEYS} keys, 4 partitions.\n",
    ]
    if "latency" in chosen.parts:
        waits, total = asyncio.run(latency(broker, folder, chosen))
        lines += [f"\n## From sending over HTTP to the delta, {chosen.rate:,} events/s, exactly once\n"]
        lines += _latency_lines(waits, total, chosen)
        lines += ["\n## From an append to the bus to its clients, meanwhile\n", *waits.bus.lines(_WARM_UP_S)]
    if "steps" in chosen.parts:
        stamps = folder / "stamps.json"
        waits, total = asyncio.run(latency(broker, folder, chosen, stamps))
        lines += ["\n## Where the time goes (a run with stamps of its own)\n"]
        lines += [*_latency_lines(waits, total, chosen), ""]
        lines += live_steps.lines(*live_steps.steps_of(stamps, waits.sent, waits.shown_at, _WARM_UP_S * chosen.rate))
        lines.append("\n" + live_steps.counts(stamps))
    if "cost" in chosen.parts:
        lines += [f"\n## {chosen.events:,} events from Kafka, with and without the clients\n"]
        lines += ["| clients | events/s | CPU µs per event |", "| --- | --- | --- |"]
        for number in range(2 * chosen.rounds):
            with_readers = bool(number % 2)
            rate, cpu = asyncio.run(cost(broker.bootstrap, folder, chosen, with_readers, number))
            lines.append(f"| {chosen.subscribers if with_readers else 0} | {rate:,.0f} | {cpu:.2f} |")
            console.print(lines[-1], highlight=False)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and write the report."""
    parser = argparse.ArgumentParser(description="latency and cost of live tables")
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="every client follows the whole table")
    parser.add_argument("--parts", default="latency,steps,cost")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("LIVE.md"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, console.print)
        try:
            report = run(chosen, broker, Path(folder))
        finally:
            broker.stop()
    chosen.output.write_text(report)
    console.print(report, highlight=False)


if __name__ == "__main__":
    main()
