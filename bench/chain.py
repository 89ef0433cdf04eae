"""What a chain of five stateless nodes costs, end to end on a real Kafka: `python -m bench.chain [--events N]`.

JSON events of about 75 bytes → filter → map → multiply → threshold → filter → JSON rows, exactly once, one process. All events
are there before the worker starts; CPU is that of its process from the first tenth of the rows to the last, by the ends
of the output's partitions. Every row is compared with a plain loop over the same events.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench import workload
from bench.processes import Worker, machine
from streamflow.runtime.embedded.broker import EmbeddedBroker

_TOPOLOGY = """
topology: chain
schemas: {Reading: {sensor: str, ts: timestamp, value: float}}
nodes:
  readings: {kind: source, topic: chain.in, schema: Reading, event_time: ts, key: sensor, future: {limit: 3650d}}
  some:     {kind: filter, input: readings, where: value > 10}
  fahren:   {kind: map, input: some, set: {value: value * 1.8 + 32}}
  doubled:  {kind: multiply, input: fahren, field: value, factor: 2}
  high:     {kind: threshold, input: doubled, field: value, limit: 110, when: at_least}
  named:    {kind: filter, input: high, where: sensor != "none"}
  out:      {kind: sink, input: named, topic: chain.out}
"""
_PLACES = [TopicPartition("chain.out", partition) for partition in range(workload.PARTITIONS)]


def expected(count: int) -> Counter[tuple[str, int, float]]:
    """The model: one plain loop."""
    rows: Counter[tuple[str, int, float]] = Counter()
    closing = [reading[1:] for reading in workload.closing_readings(count)]
    for sensor, time_ms, value in (*workload.readings(count), *closing):
        if value > 10 and (value * 1.8 + 32) * 2 >= 110:
            rows[sensor, time_ms, (value * 1.8 + 32) * 2] += 1
    return rows


async def measure(bootstrap: str, rows: int, worker: Worker) -> tuple[float, float]:
    """(seconds, CPU seconds) for all rows."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    first = None
    deadline = time.monotonic() + 600
    try:
        while time.monotonic() < deadline:
            done = sum((await consumer.end_offsets(_PLACES)).values())  # markers of transactions are some in a thousand
            now, cpu_s = time.monotonic(), worker.usage().cpu_s
            if first is None and done > rows / 10:
                first = done, now, cpu_s
            if first is not None and done >= rows:
                share = rows / (rows - first[0])
                return (now - first[1]) * share, (cpu_s - first[2]) * share
            await asyncio.sleep(0.05)
    finally:
        await consumer.stop()
    raise TimeoutError(f"{rows} rows did not come within 600 s")


async def collect(bootstrap: str, count: int) -> Counter[tuple[str, int, float]]:
    """The committed rows."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign(_PLACES)
    rows: Counter[tuple[str, int, float]] = Counter()
    quiet = time.monotonic()
    while rows.total() < count or time.monotonic() - quiet < 2:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            quiet = time.monotonic()
            for record in records:
                row = orjson.loads(record.value)
                rows[row["sensor"], row["ts"], row["value"]] += 1
        if time.monotonic() - quiet > 30:
            break
    await consumer.stop()
    return rows


def main() -> None:
    """Run once, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    count = parser.parse_args().events
    model = expected(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "topology.yaml").write_text(_TOPOLOGY)
        broker = EmbeddedBroker.start(folder / "kafka", 0, print)
        try:
            asyncio.run(workload.create_topics(broker.bootstrap, ["chain.in", "chain.out"]))
            asyncio.run(workload.publish(broker.bootstrap, "chain.in", count, lambda n: None))
            worker = Worker(broker.bootstrap, folder, folder / "state", folder / "worker.log")
            try:
                spent_s, cpu_s = asyncio.run(measure(broker.bootstrap, model.total(), worker))
                found = asyncio.run(collect(broker.bootstrap, model.total()))
            finally:
                worker.stop()
        finally:
            broker.stop()
    print(f"{count:,} events, {model.total():,} rows; {machine()}")
    print(f"{count / spent_s:,.0f} events a second, {cpu_s / count * 1e6:.2f} µs of CPU each")
    wrong = (model - found).total() + (found - model).total()
    print(f"{wrong} rows differ from a plain loop")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
