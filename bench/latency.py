"""End-to-end latency at a fixed rate: from the moment an event should be sent to its result at a committed reader.

The generator is open-loop: it sends by the clock, also when things are slow, so that waiting is counted (no coordinated
omission). The event's own time carries the moment, its value the number by which every event is looked for at the end.
"""

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from bench import workload
from bench.processes import Worker

RATE_PER_S = 2_000
SECONDS = 20
_WARM_UP_S = 5
#: The filter of the topologies lets values above 10 pass; they are doubled.
_FIRST = 100
COUNT = RATE_PER_S * (SECONDS + _WARM_UP_S)
_ARRIVED_S = 30.0
#: Guarantee to topology and prefix of its topics.
TOPOLOGIES = {"exactly once": ("readings_stateless", "stateless"), "at least once": ("readings_at_least_once", "alo")}


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms over `count` events; how many never came, and how often one came again."""

    guarantee: str
    p50_ms: float
    p99_ms: float
    count: int
    missing: int
    repeated: int


async def measure(bootstrap: str, folder: Path, guarantee: str, round_number: int) -> Latency:
    """One round. The topics are the topology's own, so every round has a state of its own and reads only what is new."""
    topology, prefix = TOPOLOGIES[guarantee]
    await workload.create_topics(bootstrap, [f"{prefix}.in", f"{prefix}.out"])
    name = f"latency-{prefix}-{round_number}"
    worker = Worker(bootstrap, Path("topologies") / topology, folder / name, folder / f"{name}.log")
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=5, enable_auto_commit=False
    )
    await reader.start()
    try:
        await asyncio.to_thread(worker.wait_ready)
        reader.assign([TopicPartition(f"{prefix}.out", each) for each in range(workload.PARTITIONS)])
        await reader.seek_to_end()
        delays: dict[int, float] = {}
        repeated: list[int] = []
        arrived = asyncio.Event()
        reading = asyncio.create_task(_read(reader, delays, repeated, arrived))
        await _send(bootstrap, f"{prefix}.in")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), _ARRIVED_S)
        await asyncio.sleep(1)  # for what comes again
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    finally:
        await reader.stop()
        worker.stop()
    kept = [delay for number, delay in delays.items() if number >= _WARM_UP_S * RATE_PER_S]
    cuts = statistics.quantiles(kept, n=100)
    return Latency(guarantee, cuts[49], cuts[98], len(kept), COUNT - len(delays), len(repeated))


async def _read(
    reader: AIOKafkaConsumer, delays: dict[int, float], repeated: list[int], arrived: asyncio.Event
) -> None:
    async for record in reader:
        row = orjson.loads(record.value)
        number = round(row["value"] / 2) - _FIRST
        if number in delays:
            repeated.append(number)
        else:
            delays[number] = time.time() * 1_000 - row["ts"]
        if len(delays) == COUNT:
            arrived.set()


async def _send(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    started = time.time()
    for number in range(COUNT):
        due = started + number / RATE_PER_S
        wait = due - time.time()
        if wait > 0.001:
            await asyncio.sleep(wait)
        sensor = f"sensor-{number % 1_000}"
        body = {"sensor": sensor, "ts": int(due * 1_000), "value": float(_FIRST + number)}
        await producer.send(topic, orjson.dumps(body), key=sensor.encode())
    await producer.flush()
    await producer.stop()
