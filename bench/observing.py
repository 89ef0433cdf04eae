"""What it costs to be seen: CPU of a worker under full load. Writes OBSERVING.md beside this file.

    python -m bench.observing [--events 4000000] [--rounds 5]

Two ways. The time within everything that measures, in a worker as it comes, over the CPU of the worker: small shares show, also on
a busy machine. And whole runs of workers with and without it, compared within each round, since what else the machine does
changes by the minute: shows also what measuring costs elsewhere, but nothing below that noise. CPU is taken from when a worker
is at work until all is read.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import workload
from bench.processes import Worker, machine
from streamflow.runtime.embedded.broker import EmbeddedBroker

console = Console()
_SOURCE, _DEADLINE_S, _SCRAPES = "observed.in", 240.0, 50
_SCRAPE_EACH_S = 15
_TOPOLOGY = """
topology: {name}
schemas: {{Reading: {{sensor: str, ts: timestamp, value: float}}}}
nodes:
  readings: {{kind: source, topic: observed.in, schema: Reading, event_time: ts, watermark_delay: 2s, key: sensor, partitions: 4}}
  high: {{kind: filter, input: readings, where: value > 10}}
  stats: {{kind: window, input: high, window: {{type: tumbling, size: 10s}}, aggregate: {{n: count(), total: sum(value)}}}}
  out: {{kind: sink, input: stats, topic: {name}.out}}
"""
_MEASURED, _TIMED = "bench.measured_worker", "metrics, timed"
#: Module that starts the worker, its settings. Of the first the others are compared with.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "no metrics, no bus": (_MEASURED, {"BENCH_METRICS": "out", "STREAMFLOW_EVENTS_DETAIL": "off"}),
    _TIMED: (_MEASURED, {"BENCH_METRICS": "timed"}),
    "as it comes: metrics, bus, no tracing": ("streamflow", {}),
    "tracing on, no event traced": ("streamflow", {"STREAMFLOW_OTLP_ENDPOINT": "http://127.0.0.1:9/v1/traces"}),
}


@dataclass(frozen=True)
class Cost:
    """Of a run: CPU µs per event, CPU seconds of a scrape, share of the worker's CPU that went into metrics (timed only)."""

    event_us: float
    scrape_s: float
    share: float


def cost(bootstrap: str, folder: Path, variant: str, number: int, events: int) -> Cost:
    """One run."""
    module, settings = VARIANTS[variant]
    name = f"observed_{number}"
    home = folder / name
    home.mkdir()
    (home / "topology.yaml").write_text(_TOPOLOGY.format(name=name))
    worker = Worker(bootstrap, home, home / "state", home / "log", program=(module,), settings=settings)
    try:
        worker.wait_ready()
        begun, before = 0, 0.0
        deadline = time.monotonic() + _DEADLINE_S
        while (done := _positions(worker, name)) < events:
            if not begun and done:
                begun, before = done, worker.usage().cpu_s
            if worker.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{done:,} of {events:,} events after {_DEADLINE_S:.0f} s, see {worker.log}")
            time.sleep(0.2)
        spent_s = worker.usage().cpu_s - before
        time.sleep(1)
        idle_s = worker.usage().cpu_s
        for _ in range(_SCRAPES):
            worker.text("/metrics")
        scrape_s = (worker.usage().cpu_s - idle_s) / _SCRAPES
    finally:
        worker.stop()
    timed = re.search(r"metrics took ([\d.]+) s", worker.log.read_text())
    # Taken over its whole life, so a little too high.
    share = float(timed[1]) / spent_s if timed else 0.0
    return Cost(spent_s / (done - begun) * 1e6, scrape_s, share)


def _positions(worker: Worker, name: str) -> int:
    tasks = worker.get(f"/v1/topologies/{name}").get("tasks", [])
    return sum(sum(task["positions"].values()) for task in tasks)


def report(found: dict[str, list[Cost]], events: int) -> str:
    """Medians, and medians of the differences within the rounds."""
    base, *_ = found
    shares = [run.share for run in found[_TIMED]]
    scrape_s = statistics.median(run.scrape_s for runs in found.values() for run in runs)
    lines = [
        "# What it costs to be seen\n",
        f"{machine()}; the broker shares it. `python -m bench.observing`, {events:,} events a run, a window of 10 s.\n",
        f"Metrics take {statistics.median(shares):.2%} of a worker's CPU under full load ({min(shares):.2%} to {max(shares):.2%}), "
        f"and a scrape {scrape_s * 1e3:.1f} ms: {scrape_s / _SCRAPE_EACH_S:.2%} of a core each {_SCRAPE_EACH_S} s.\n",
        "| whole runs | CPU µs per event | over the first, median (least to most) |",
        "| --- | --- | --- |",
    ]
    for variant, runs in found.items():
        over = [(run.event_us / bare.event_us - 1) * 100 for run, bare in zip(runs, found[base], strict=True)]
        more = "" if variant == base else f"{statistics.median(over):+.1f} % ({min(over):+.1f} to {max(over):+.1f})"
        lines.append(f"| {variant} | {statistics.median(run.event_us for run in runs):.3f} | {more} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and write the report."""
    parser = argparse.ArgumentParser(description="what metrics, bus and tracing cost")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("OBSERVING.md"))
    chosen = parser.parse_args()
    found: dict[str, list[Cost]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = EmbeddedBroker.start(folder / "kafka", 0, console.print)
        try:
            asyncio.run(workload.create_topics(broker.bootstrap, [_SOURCE]))
            asyncio.run(workload.publish(broker.bootstrap, _SOURCE, chosen.events, lambda _: None))
            for number in range(chosen.rounds * len(VARIANTS)):
                # Each round begins with another variant, so that none always follows the same one.
                turn, place = divmod(number, len(VARIANTS))
                variant = list(VARIANTS)[(turn + place) % len(VARIANTS)]
                found[variant].append(cost(broker.bootstrap, folder, variant, number, chosen.events))
                console.print(f"{variant}: {found[variant][-1]}", highlight=False)
        finally:
            broker.stop()
    text = report(found, chosen.events)
    chosen.output.write_text(text)
    console.print(text, highlight=False)


if __name__ == "__main__":
    main()
