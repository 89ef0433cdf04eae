"""Nexmark on a real Kafka: every query of topologies/nexmark, one process, exactly once, checked against DuckDB.

    python -m bench.nexmark [--events 1000000] [--only q0,q5] [--rounds 1] [--disorder 1]

The topics are full before a query starts. A query is a bounded run of its own, as a user starts it, and ends with every
window closed. What a run takes that reads nothing (process, imports, topics, group, report) is measured too and taken
off. CPU is that of streamflow's processes, without the broker. Writes NEXMARK.md beside this file.
"""

import argparse
import asyncio
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition
from rich.console import Console
from rich.progress import Progress

from bench.processes import machine
from bench.workload import PARTITIONS, partition_of
from streamflow.runtime.embedded.broker import EmbeddedBroker
from topologies.nexmark.events import RATE_PER_S, TOPICS, events
from topologies.nexmark.reference import FOLDER, QUERIES, Compared, Reference

console = Console()
#: Behind every record, so that a run from here on reads nothing.
_NOTHING = "2100-01-01"
_DEADLINE_S = 1_800
#: Share of a run that the work itself must take to be told from the noise of its start.
_LEAST = 0.1


@dataclass(frozen=True)
class Run:
    """Seconds of a run and of its processors, and the report of streamflow."""

    wall_s: float
    cpu_s: float
    report: dict[str, Any]

    @property
    def events(self) -> int:
        """Records that its sources read."""
        return sum(each["end"] - each["start"] for each in self.report["sources"])


@dataclass(frozen=True)
class Measured:
    """A query: events read, seconds without start and end (NaN when too few to be told), how its results compare."""

    query: str
    events: int
    wall_s: float
    cpu_s: float
    compared: Compared

    @property
    def is_exact(self) -> bool:
        """Whether every row is there, once."""
        return not self.compared.missing and not self.compared.extra


class AuctionHouse:
    """The events of Nexmark in Kafka and, in `folder`, in files for the reference; runs of queries over them."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._bootstrap, self._folder = bootstrap, folder

    async def open(self, count: int, disorder: int, rate_per_s: int, advance: Callable[[int], None]) -> None:
        """Publish the events, and keep what is then in Kafka, with the time of its records."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        by_broker = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=by_broker) for topic in TOPICS])
        await admin.close()
        await self._publish(count, disorder, rate_per_s, advance)
        for topic in TOPICS:
            with (self._folder / topic).open("wb") as file:
                for time_ms, value in await self._read(topic):
                    file.write(value[:-1] + b',"appended":%d}\n' % time_ms)

    async def _publish(self, count: int, disorder: int, rate_per_s: int, advance: Callable[[int], None]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, max_batch_size=1 << 19, linger_ms=0)
        await producer.start()
        places = [(topic, partition) for topic in TOPICS for partition in range(PARTITIONS)]
        batches = {place: producer.create_batch() for place in places}
        for number, (topic, event) in enumerate(events(count, disorder_count=disorder, rate_per_s=rate_per_s)):
            key = str(event[TOPICS[topic]]).encode()
            place, body = (topic, partition_of(key)), orjson.dumps(event)
            if batches[place].append(timestamp=None, key=key, value=body) is None:
                await producer.send_batch(batches[place], topic, partition=place[1])
                batches[place] = producer.create_batch()
                batches[place].append(timestamp=None, key=key, value=body)
            if number % 10_000 == 0:
                advance(10_000)
        for (topic, partition), batch in batches.items():
            await producer.send_batch(batch, topic, partition=partition)
        await producer.stop()

    async def _read(self, topic: str) -> list[tuple[int, bytes]]:
        """(time of the record in ms, value) of everything committed in a topic, partition by partition."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: dict[TopicPartition, list[tuple[int, bytes]]] = {
            TopicPartition(topic, partition): [] for partition in range(PARTITIONS)
        }
        consumer.assign(list(found))
        ends = await consumer.end_offsets(list(found))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found[place] += [(record.timestamp, record.value) for record in records]
        await consumer.stop()
        return [each for partition in found.values() for each in partition]

    def run(self, query: str, name: str, *options: str) -> Run:
        """A bounded run of a query to its end, under a name of its own."""
        environment = {
            **os.environ,
            "STREAMFLOW_BROKERS": self._bootstrap,
            "STREAMFLOW_STATE_DIR": str(self._folder / f"{query}-{name}"),
            "STREAMFLOW_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "streamflow", "run", str(FOLDER / f"{query}.yaml")]
        command += ["--bounded", "--json", "--into", name, *options]
        before, began = _cpu_s(), time.monotonic()
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
        wall_s = time.monotonic() - began
        if done.returncode:
            raise RuntimeError(f"{query} ended with {done.returncode}: {done.stderr[-3_000:]}")
        return Run(wall_s, _cpu_s() - before, json.loads(done.stdout))

    async def results(self, query: str, name: str) -> list[bytes]:
        """What a run gave."""
        return [value for _, value in await self._read(f"nexmark.{query}.{name}")]

    def measure(self, query: str, reference: Reference, number: int) -> Measured:
        """One round of a query."""
        idle = self.run(query, f"idle{number}", "--from", _NOTHING)
        full = self.run(query, f"full{number}")
        if letters := full.report["dead_letters"]:
            raise RuntimeError(f"{query} has dead letters: {letters}")
        compared = reference.compare(query, asyncio.run(self.results(query, f"full{number}")))
        wall_s, cpu_s = _above(idle.wall_s, full.wall_s), _above(idle.cpu_s, full.cpu_s)
        return Measured(query, full.events, wall_s, cpu_s, compared)


def _above(idle_s: float, full_s: float) -> float:
    return full_s - idle_s if full_s - idle_s > _LEAST * full_s else math.nan


def _cpu_s() -> float:
    """User and system seconds of all processes that were started here, and of theirs, and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def markdown(found: list[Measured], count: int, rounds: int) -> str:
    """The report: medians over the rounds, the worst of what came out."""
    lines = [
        "# Nexmark",
        "",
        f"{count:,} events (persons, auctions and bids 1 : 3 : 46, {RATE_PER_S:,} per second of event time), 3 topics of "
        f"{PARTITIONS} partitions on a real Kafka, one process, exactly once, RocksDB. Machine: {machine()}, shared with "
        f"the broker. Median of {rounds} round{'s' * (rounds > 1)}. The queries and what they mean: "
        "[topologies/nexmark](../topologies/nexmark/README.md). Events are those that the query reads; its start and end "
        "are taken off, – where they were most of it. Every row was compared with DuckDB. Written by `make bench-nexmark`.",
        "",
        "| query | events | results | events/s | CPU µs per event | results are |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for query in dict.fromkeys(each.query for each in found):
        runs = [each for each in found if each.query == query]
        wall_s = statistics.median(each.wall_s for each in runs)
        cpu_s = statistics.median(each.cpu_s for each in runs)
        size, worst = runs[0].events, max(runs, key=lambda each: each.compared.missing + each.compared.extra)
        lines.append(
            f"| {query} | {size:,} | {worst.compared.expected:,} | {_shown(size / wall_s, 0)} "
            f"| {_shown(cpu_s / size * 1e6, 2)} | {_state(worst)} |"
        )
    return "\n".join(lines) + "\n"


def _shown(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _state(measured: Measured) -> str:
    if measured.is_exact:
        return "within the stated error" if measured.query == "q16" else "exact"
    return f"WRONG: {measured.compared.missing:,} missing, {measured.compared.extra:,} too many"


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda count: progress.advance(bar, count)


def run(given: argparse.Namespace, bootstrap: str, folder: Path) -> list[Measured]:
    """Publish, then every query in each round."""
    house = AuctionHouse(bootstrap, folder)
    with _bar(f"publishing {given.events:,} events", given.events) as advance:
        asyncio.run(house.open(given.events, given.disorder, RATE_PER_S, advance))
    reference, found = Reference(folder), []
    for number in range(given.rounds):
        for query in given.only.split(","):
            one = house.measure(query, reference, number)
            found.append(one)
            rate, cost = one.events / one.wall_s, one.cpu_s / one.events * 1e6
            text = f"round {number + 1}: {query} {_shown(rate, 0)} events/s, {_shown(cost, 2)} µs CPU per event"
            console.print(f"{text}, {one.compared.expected:,} results, {_state(one)}", highlight=False)
    return found


def main() -> int:
    """Run what was asked for and write the report; 1 when a result was wrong."""
    options = argparse.ArgumentParser(description="Nexmark, checked against DuckDB")
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--only", default=",".join(QUERIES))
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--disorder", type=int, default=1, help="events come shuffled within groups of so many")
    options.add_argument("--output", type=Path, default=Path(__file__).with_name("NEXMARK.md"))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, console.print)
        try:
            found = run(given, broker.bootstrap, Path(folder))
        finally:
            broker.stop()
    given.output.write_text(markdown(found, given.events, given.rounds))
    return 0 if all(each.is_exact for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
