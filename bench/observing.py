"""What it costs to be seen: CPU of a worker under full load, without any measurement, as it comes, and with tracing on.
Writes OBSERVING.md beside this file.

    python -m bench.observing [--events 4000000] [--rounds 5]

Each round runs every variant once, one after the other, on the same full topic; a round's variants are compared with each
other, since what else the machine does changes by the minute. CPU is taken from when a worker is at work until all is read.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
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
#: Of the first the others are compared with: module that starts the worker, its settings.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "no metrics, no bus": ("bench.unobserved", {"STREAMFLOW_EVENTS_DETAIL": "off"}),
    "metrics": ("streamflow", {"STREAMFLOW_EVENTS_DETAIL": "off"}),
    "metrics and bus, as it comes": ("streamflow", {}),
    "and tracing on, no event traced": (
        "streamflow",
        {"STREAMFLOW_OTLP_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
    ),
}


def cost_us(bootstrap: str, folder: Path, variant: str, number: int, events: int) -> tuple[float, float]:
    """CPU µs per event of one run, and CPU seconds of a scrape."""
    module, settings = VARIANTS[variant]
    name = f"observed_{number}"
    home = folder / name
    home.mkdir()
    (home / "topology.yaml").write_text(_TOPOLOGY.format(name=name))
    worker = Worker(bootstrap, home, home / "state", home / "log", module=module, settings=settings)
    try:
        worker.wait_ready()
        begun = before = 0.0
        deadline = time.monotonic() + _DEADLINE_S
        while (done := _positions(worker, name)) < events:
            if not begun and done:
                begun, before = done, worker.usage().cpu_s
            if worker.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{done:,} of {events:,} events after {_DEADLINE_S:.0f} s, see {worker.log}")
            time.sleep(0.2)
        spent_us = (worker.usage().cpu_s - before) / (done - begun) * 1e6
        time.sleep(1)
        idle = worker.usage().cpu_s
        for _ in range(_SCRAPES):
            worker.text("/metrics")
        return spent_us, (worker.usage().cpu_s - idle) / _SCRAPES
    finally:
        worker.stop()


def _positions(worker: Worker, name: str) -> int:
    tasks = worker.get(f"/v1/topologies/{name}").get("tasks", [])
    return sum(sum(task["positions"].values()) for task in tasks)


def report(found: dict[str, list[tuple[float, float]]], events: int) -> str:
    """Medians, and medians of the differences within the rounds."""
    base, *_ = found
    lines = [
        "# What it costs to be seen\n",
        f"{machine()}; the broker shares it. `python -m bench.observing`, {events:,} events a run, a window of 10 s.\n",
        "| | CPU µs per event | over the first, median (least to most) |",
        "| --- | --- | --- |",
    ]
    for variant, runs in found.items():
        over = [(run[0] / bare[0] - 1) * 100 for run, bare in zip(runs, found[base], strict=True)]
        more = "" if variant == base else f"{statistics.median(over):+.1f} % ({min(over):+.1f} to {max(over):+.1f})"
        lines.append(f"| {variant} | {statistics.median(run[0] for run in runs):.3f} | {more} |")
    scrape_s = statistics.median(run[1] for runs in found.values() for run in runs)
    lines.append(
        f"\nA scrape takes {scrape_s * 1e3:.1f} ms of CPU: {scrape_s / _SCRAPE_EACH_S:.2%} of a core each {_SCRAPE_EACH_S} s.\n"
    )
    return "\n".join(lines)


def main() -> None:
    """Run and write the report."""
    parser = argparse.ArgumentParser(description="what metrics, bus and tracing cost")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("OBSERVING.md"))
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
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
                found[variant].append(cost_us(broker.bootstrap, folder, variant, number, chosen.events))
                console.print(f"{variant}: {found[variant][-1][0]:.3f} µs", highlight=False)
        finally:
            broker.stop()
    text = report(found, chosen.events)
    chosen.output.write_text(text)
    console.print(text, highlight=False)


if __name__ == "__main__":
    main()
