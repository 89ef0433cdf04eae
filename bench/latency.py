"""End-to-end latency at a fixed rate: from the moment an event should be sent to its result at a committed reader.

The generator is open-loop: it sends by the clock, also when things are slow, so that waiting is counted (no coordinated
omission). The event's own time carries the moment.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench import workload
from bench.processes import Contender, python

RATE_PER_S = 2_000
SECONDS = 20
_WARM_UP_S = 5
_TOPOLOGIES = {"exactly once": ("readings_stateless", "stateless"), "at least once": ("readings_at_least_once", "alo")}


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms over `count` events."""

    guarantee: str
    p50_ms: float
    p99_ms: float
    count: int


async def measure_all(bootstrap: str, folder: Path, say: Callable[[str], None]) -> list[Latency]:
    """Both guarantees."""
    found = []
    for guarantee, (topology, prefix) in _TOPOLOGIES.items():
        one = await _measure(bootstrap, folder, guarantee, topology, prefix)
        say(f"{guarantee}: p50 {one.p50_ms:.0f} ms, p99 {one.p99_ms:.0f} ms over {one.count:,} events")
        found.append(one)
    return found


async def _measure(bootstrap: str, folder: Path, guarantee: str, topology: str, prefix: str) -> Latency:
    await workload.create_topics(bootstrap, [f"{prefix}.in", f"{prefix}.out"])
    environment = {
        "STREAMFLOW_BROKERS": bootstrap,
        "STREAMFLOW_STATE_DIR": str(folder / f"latency-{prefix}"),
        "STREAMFLOW_HTTP_PORT": "0",
        "STREAMFLOW_LOG_LEVEL": "warning",
    }
    command = python("-m", "streamflow", "run", f"topologies/{topology}", "--worker")
    contender = Contender(command, environment, folder / f"latency-{prefix}.log")
    reader = AIOKafkaConsumer(
        f"{prefix}.out", bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=5
    )
    await reader.start()
    try:
        await asyncio.sleep(8)
        delays: list[float] = []
        reading = asyncio.create_task(_read(reader, delays))
        await _send(bootstrap, f"{prefix}.in")
        await asyncio.sleep(2)
        reading.cancel()
    finally:
        await reader.stop()
        contender.stop()
    kept = delays[_WARM_UP_S * RATE_PER_S :]
    cuts = statistics.quantiles(kept, n=100)
    return Latency(guarantee, cuts[49], cuts[98], len(kept))


async def _read(reader: AIOKafkaConsumer, delays: list[float]) -> None:
    async for record in reader:
        delays.append(time.time() * 1_000 - orjson.loads(record.value)["ts"])


async def _send(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    started = time.time()
    for number in range(RATE_PER_S * (SECONDS + _WARM_UP_S)):
        due = started + number / RATE_PER_S
        wait = due - time.time()
        if wait > 0.001:
            await asyncio.sleep(wait)
        body = {"sensor": f"sensor-{number % 1_000}", "ts": int(due * 1_000), "value": 50.0}
        await producer.send(topic, orjson.dumps(body), key=body["sensor"].encode())
    await producer.flush()
    await producer.stop()
