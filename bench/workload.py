"""Workload A: JSON readings of 10,000 sensors, and an independent computation of what every system must give."""

import random
import time
from collections.abc import Callable, Iterator

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

PARTITIONS = 4
SENSORS = 10_000
WINDOW_MS = 10_000
START_MS = 1_700_000_000_000
#: Events per second of event time; 1 M events span 50 s.
DENSITY = 20_000

#: (sensor, window start) → (count, sum, min, max)
Windows = dict[tuple[str, int], tuple[int, float, float, float]]


def readings(count: int, seed: int = 1) -> Iterator[tuple[str, int, float]]:
    """(sensor, time ms, value), up to 2 s out of order; then one reading far ahead for each partition closes all."""
    chance = random.Random(seed)
    pick, disorder = chance.randrange, chance.random
    for i in range(count):
        time_ms = START_MS + i * 1_000 // DENSITY + int(disorder() * 2_000)
        yield f"sensor-{pick(SENSORS)}", time_ms, round(disorder() * 100, 3)


def closing_readings(count: int) -> Iterator[tuple[int, str, int, float]]:
    """(partition, sensor, time, value) that carry every partition past all windows."""
    far_ms = START_MS + count * 1_000 // DENSITY + 3_600_000
    for partition in range(PARTITIONS):
        yield partition, f"closing-{partition}", far_ms, 50.0


def expected(count: int, seed: int = 1) -> Windows:
    """The model: one plain loop."""
    windows: Windows = {}
    for sensor, time_ms, value in readings(count, seed):
        if value <= 10:
            continue
        key = (sensor, time_ms // WINDOW_MS * WINDOW_MS)
        n, total, low, high = windows.get(key, (0, 0.0, value, value))
        windows[key] = (n + 1, total + value, min(low, value), max(high, value))
    return windows


def partition_of(key: bytes) -> int:
    """Kafka's default partitioner."""
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % PARTITIONS


async def create_topics(bootstrap: str, names: list[str]) -> None:
    """Create topics with 4 partitions; existing ones stay."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    await admin.close()


async def publish(bootstrap: str, topic: str, count: int, advance: Callable[[int], None]) -> None:
    """Write the workload to a topic, in large batches."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19, linger_ms=0)
    await producer.start()
    now_ms = int(time.time() * 1_000)
    batches = [producer.create_batch() for _ in range(PARTITIONS)]

    async def ship(partition: int) -> None:
        await producer.send_batch(batches[partition], topic, partition=partition)
        batches[partition] = producer.create_batch()

    for number, (sensor, time_ms, value) in enumerate(readings(count)):
        key = sensor.encode()
        partition = partition_of(key)
        body = orjson.dumps({"sensor": sensor, "ts": time_ms, "value": value})
        if batches[partition].append(timestamp=now_ms, key=key, value=body) is None:
            await ship(partition)
            batches[partition].append(timestamp=now_ms, key=key, value=body)
        if number % 10_000 == 0:
            advance(10_000)
    for partition, sensor, time_ms, value in closing_readings(count):
        await ship(partition)
        body = orjson.dumps({"sensor": sensor, "ts": time_ms, "value": value})
        batches[partition].append(timestamp=now_ms, key=sensor.encode(), value=body)
        await ship(partition)
    await producer.flush()
    await producer.stop()


async def collect(
    bootstrap: str, topic: str, wanted: int, deadline_s: float, repeats: bool
) -> tuple[Windows, int, float]:
    """Results of a topic, committed only, until `wanted` windows were seen: (windows, duplicates, time of the last).

    `repeats`: results come again as they grow; then it ends when nothing new came for 3 s.
    """
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    found: Windows = {}
    duplicates, last, deadline = 0, time.monotonic(), time.monotonic() + deadline_s
    try:
        # A little longer than needed, without counting it: a duplicate would come after the last window too.
        while time.monotonic() < deadline and (len(found) < wanted or time.monotonic() - last < 3):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    row = orjson.loads(record.value)
                    key = (row["sensor"], row["start"])
                    if row["sensor"].startswith("closing"):
                        continue
                    if key in found and not repeats:
                        duplicates += 1
                        continue
                    duplicates += key in found
                    found[key] = (row["n"], row["total"], row["low"], row["high"])
                    last = time.monotonic()
    finally:
        await consumer.stop()
    return found, duplicates, last


def differences(found: Windows, model: Windows) -> int:
    """Windows that are missing, extra or different. Sums of floats may round differently in another order."""
    wrong = len(model.keys() ^ found.keys())
    for key in model.keys() & found.keys():
        (n, total, low, high), (m, other, least, most) = found[key], model[key]
        wrong += not (n == m and low == least and high == most and abs(total - other) < 1e-6 * max(1.0, abs(other)))
    return wrong
