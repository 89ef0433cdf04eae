"""Runs the benchmarks: `python -m bench [--events 1000000,4000000] [--rounds 1] [--only streamflow,faust,quix] [--no-latency]`.

Each contender works through a topic that is full before it starts, alone, one after the other in each round. What it
takes to start (process, imports, joining the group) is measured on a topic of 1,000 events and taken off.
"""

import argparse
import asyncio
import importlib.metadata
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import latency, workload
from bench.processes import Contender, machine, python
from streamflow.runtime.embedded.broker import EmbeddedBroker

console = Console()
SMALL = 1_000
#: Plain Faust does some 3,000 events a second; its rate is taken on fewer events.
FAUST_EVENTS = 20_000
_RESULTS = Path(__file__).with_name("RESULTS.md")
_DEADLINE_S = 240.0


@dataclass(frozen=True)
class Measured:
    """One run: events, seconds and CPU seconds without the start, peak bytes, windows that differ, duplicates."""

    name: str
    events: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    wrong: int
    duplicates: int


class Bench:
    """One broker, one folder, all runs."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._bootstrap, self._folder = bootstrap, folder
        self._filled: set[int] = set()
        self._runs = 0

    async def fill(self, count: int) -> str:
        """Topic with the workload of `count` events."""
        topic = f"input.{count}"
        if count not in self._filled:
            await workload.create_topics(self._bootstrap, [topic])
            with Progress(console=console, transient=True) as progress:
                bar = progress.add_task(f"publishing {count:,} events", total=count)
                await workload.publish(self._bootstrap, topic, count, lambda n: progress.advance(bar, n))
            self._filled.add(count)
        return topic

    async def run(self, name: str, count: int, model: workload.Windows) -> Measured:
        """One run of a contender over `count` events, start included."""
        source = await self.fill(count)
        self._runs += 1
        sink = f"{name}.out.{self._runs}"
        await workload.create_topics(self._bootstrap, [sink])
        contender = self._start(name, source, sink)
        started = time.monotonic()
        try:
            found, duplicates, last = await workload.collect(
                self._bootstrap, sink, len(model), _DEADLINE_S, name == "faust"
            )
            usage = contender.usage()
        finally:
            contender.stop()
        wrong = workload.differences(found, model)
        return Measured(name, count, last - started, usage.cpu_s, usage.peak_bytes, wrong, duplicates)

    def _start(self, name: str, source: str, sink: str) -> Contender:
        folder = self._folder / f"{name}-{self._runs}"
        folder.mkdir(parents=True)
        log = folder / "log"
        if name != "streamflow":
            module = f"bench.{name}_contender"
            return Contender(python("-m", module, self._bootstrap, source, sink, str(folder)), {}, log)
        text = Path("topologies/readings/topology.yaml").read_text()
        text = text.replace("topology: readings", f"topology: readings_{self._runs}")
        text = text.replace("readings.in", source).replace("readings.out", sink)
        (folder / "topology.yaml").write_text(text)
        environment = {
            "STREAMFLOW_BROKERS": self._bootstrap,
            "STREAMFLOW_STATE_DIR": str(folder / "state"),
            "STREAMFLOW_HTTP_PORT": "0",
            "STREAMFLOW_LOG_LEVEL": "warning",
            "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
            "MALLOC_TOP_PAD_": str(64 << 20),
        }
        return Contender(python("-m", "streamflow", "run", str(folder), "--worker"), environment, log)


async def measure(bench: Bench, names: list[str], sizes: list[int], rounds: int) -> list[Measured]:
    """All runs, start taken off, one line each as they end."""
    small = workload.expected(SMALL)
    found: list[Measured] = []
    for size in sizes:
        console.print(f"computing the model of {size:,} events …")
        models = {size: workload.expected(size)}
        for round_number in range(rounds):
            for name in names:
                if name == "faust" and size != sizes[0]:
                    continue  # its rate does not depend on how much more there would be
                count = min(size, FAUST_EVENTS) if name == "faust" else size
                model = models.setdefault(count, workload.expected(count) if count not in models else models[count])
                start = await bench.run(name, SMALL, small)
                full = await bench.run(name, count, model)
                wall_s, cpu_s = max(0.01, full.wall_s - start.wall_s), max(0.01, full.cpu_s - start.cpu_s)
                events = count - SMALL
                one = Measured(name, events, wall_s, cpu_s, full.peak_bytes, full.wrong, full.duplicates)
                found.append(one)
                console.print(f"round {round_number + 1}: {_line(one)}", highlight=False)
    return found


def _line(m: Measured) -> str:
    state = "exact" if not m.wrong and not m.duplicates else f"{m.wrong} windows differ, {m.duplicates} came twice"
    rate, cost = m.events / m.wall_s, m.cpu_s / m.events * 1e6
    return (
        f"{m.name} {m.events:,}: {rate:,.0f} events/s, {cost:.2f} µs CPU per event, {m.peak_bytes >> 20} MiB, {state}"
    )


def report(found: list[Measured], latencies: list[latency.Latency]) -> str:
    """bench/RESULTS.md."""
    versions = {name: importlib.metadata.version(name) for name in ("faust-streaming", "aiokafka", "rocksdict")}
    lines = [
        "# Results",
        "",
        f"Machine: {machine()}, shared with the broker and the reader of the results. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Medians over rounds; one process each; commits every 100 ms. Made by `make bench`.",
        "",
        "## Workload A: filter, 10 s tumbling window per sensor (10,000), count, sum, min, max, JSON, real Kafka, 4 partitions",
        "",
        "| system | events | events/s | CPU µs per event | peak MiB | results |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, events in dict.fromkeys((m.name, m.events) for m in found):
        runs = [m for m in found if (m.name, m.events) == (name, events)]
        rate = statistics.median(m.events / m.wall_s for m in runs)
        cost = statistics.median(m.cpu_s / m.events * 1e6 for m in runs)
        peak = max(m.peak_bytes for m in runs) >> 20
        wrong, twice = max(m.wrong for m in runs), max(m.duplicates for m in runs)
        state = "exact" if not wrong and not twice else f"{wrong} windows differ, {twice} came twice"
        lines.append(f"| {name} | {events:,} | {rate:,.0f} | {cost:.2f} | {peak} | {state} |")
    if latencies:
        lines += [
            "",
            "## End-to-end latency, stateless topology, 2,000 events/s",
            "",
            "| guarantee | p50 ms | p99 ms | events |",
        ]
        lines.append("| --- | --- | --- | --- |")
        lines += [
            f"| {each.guarantee} | {each.p50_ms:.0f} | {each.p99_ms:.0f} | {each.count:,} |" for each in latencies
        ]
    notes = [
        "",
        "Plain Faust writes the current value for every event (its closing callback does not get the whole window), so its",
        "last value per window is compared; its count of results that came again is by design.",
    ]
    return "\n".join([*lines, *notes]) + "\n"


async def main() -> None:
    """Run what was asked for and write the report."""
    parser = argparse.ArgumentParser(description="streamflow beside plain Faust and Quix Streams")
    parser.add_argument("--events", default="1000000,4000000")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="streamflow,quix,faust")
    parser.add_argument("--no-latency", action="store_true")
    chosen = parser.parse_args()
    sizes = [int(each) for each in chosen.events.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, console.print)
        try:
            bench = Bench(broker.bootstrap, Path(folder))
            found = await measure(bench, chosen.only.split(","), sizes, chosen.rounds)
            latencies = (
                [] if chosen.no_latency else await latency.measure_all(broker.bootstrap, Path(folder), console.print)
            )
        finally:
            broker.stop()
    text = report(found, latencies)
    _RESULTS.write_text(text)
    console.print(text, highlight=False)


if __name__ == "__main__":
    asyncio.run(main())
