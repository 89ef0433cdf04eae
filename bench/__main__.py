"""Runs the benchmarks and writes RESULTS.md beside this file: throughput, end-to-end latency, restart.

    python -m bench [--events 1000000,4000000] [--rounds 1] [--only streamflow,quix,faust] [--parts throughput,latency,restart]

Throughput: each contender works through a topic that is full before it starts, alone, one after the other in each round. What it
takes to start (process, imports, joining the group) is measured on a topic of 1,000 events and taken off.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import latency, restart, workload
from bench.processes import Contender, python
from bench.report import Found, Measured
from streamflow.runtime.embedded.broker import EmbeddedBroker

console = Console()
SMALL = 1_000
#: Plain Faust does some 3,000 events a second; its rate is taken on fewer events.
FAUST_EVENTS = 20_000
_DEADLINE_S = 240.0
#: Share of a run that the work itself must take to be measured.
_LEAST = 0.1


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
                wall_s, cpu_s = _above(start.wall_s, full.wall_s), _above(start.cpu_s, full.cpu_s)
                events = count - SMALL
                one = Measured(name, events, wall_s, cpu_s, full.peak_bytes, full.wrong, full.duplicates)
                found.append(one)
                console.print(f"round {round_number + 1}: {_line(one)}", highlight=False)
    return found


def _above(start_s: float, full_s: float) -> float:
    return full_s - start_s if full_s - start_s > _LEAST * full_s else math.nan


def _line(m: Measured) -> str:
    rate, cost = m.events / m.wall_s, m.cpu_s / m.events * 1e6
    return (
        f"{m.name} {m.events:,}: {rate:,.0f} events/s, {cost:.2f} µs CPU per event, {m.peak_bytes >> 20} MiB, {m.state}"
    )


def run(chosen: argparse.Namespace, bootstrap: str, folder: Path) -> Found:
    """All parts that were asked for."""
    found, parts = Found(chosen.rounds), chosen.parts.split(",")
    if "throughput" in parts:
        sizes = [int(each) for each in chosen.events.split(",")]
        bench = Bench(bootstrap, folder)
        found.throughput = asyncio.run(measure(bench, chosen.only.split(","), sizes, chosen.rounds))
    for number in range(chosen.rounds):
        for guarantee in latency.TOPOLOGIES if "latency" in parts else ():
            one = asyncio.run(latency.measure(bootstrap, folder, guarantee, number))
            found.latency.append(one)
            console.print(f"round {number + 1}: {one}", highlight=False)
        if "restart" in parts:
            found.restart.append(restart.measure(bootstrap, folder, chosen.keys, number))
            console.print(f"round {number + 1}: {found.restart[-1]}", highlight=False)
    return found


def main() -> int:
    """Run what was asked for and write the report; 1 when a result of streamflow was not exact."""
    parser = argparse.ArgumentParser(description="streamflow beside plain Faust and Quix Streams")
    parser.add_argument("--events", default="1000000,4000000")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="streamflow,quix,faust")
    parser.add_argument("--parts", default="throughput,latency,restart")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys in state for the restart")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, console.print)
        try:
            found = run(chosen, broker.bootstrap, Path(folder))
        finally:
            broker.stop()
    chosen.output.write_text(found.markdown())
    console.print(found.markdown(), highlight=False)
    return 0 if found.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
