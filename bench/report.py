"""bench/RESULTS.md: everything that one run of the benchmarks measured, medians over its rounds, nothing by hand."""

import importlib.metadata
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bench.latency import RATE_PER_S, Latency
from bench.processes import machine
from bench.restart import Restart

Each = TypeVar("Each")


@dataclass(frozen=True)
class Measured:
    """One run: events, seconds and CPU seconds without the start, peak bytes, windows that differ, duplicates.

    Seconds are NaN when the work is too short beside the start to be told from its noise.
    """

    name: str
    events: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    wrong: int
    duplicates: int

    @property
    def state(self) -> str:
        """What its results were worth."""
        return _state(f"{self.wrong:,} windows differ" if self.wrong else "", self.duplicates)

    @property
    def is_exact(self) -> bool:
        """Whether every window is right and came once."""
        return not self.wrong and not self.duplicates


@dataclass
class Found:
    """All that one run measured."""

    rounds: int
    machine: str = field(default_factory=machine)
    throughput: list[Measured] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    restart: list[Restart] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether streamflow lost, repeated or miscounted nothing; others are only reported."""
        own = all(each.is_exact for each in self.throughput if each.name == "streamflow")
        return own and not any(each.missing or each.repeated for each in self.latency)

    def markdown(self) -> str:
        """The report."""
        versions = {name: importlib.metadata.version(name) for name in ("faust-streaming", "aiokafka", "rocksdict")}
        lines = [
            "# Results",
            "",
            f"Machine: {self.machine}, shared with the broker and the reader of the results. "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + f". Median of {self.rounds} round{'s' * (self.rounds > 1)}; one process each; commits every 100 ms. Written by `make bench`.",
        ]
        sections = (self._throughput(), self._latency(), self._restart())
        return "\n".join(lines + [line for section in sections for line in section]) + "\n"

    def _throughput(self) -> Iterable[str]:
        if not self.throughput:
            return
        yield from _table(
            "Workload A: filter, 10 s tumbling window per sensor (10,000), count, sum, min, max, JSON, real Kafka, 4 partitions",
            ("system", "events", "events/s", "CPU µs per event", "peak MiB", "results"),
        )
        for name, events in dict.fromkeys((each.name, each.events) for each in self.throughput):
            runs = [each for each in self.throughput if (each.name, each.events) == (name, events)]
            rate = _median(runs, lambda each: each.events / each.wall_s)
            cost = _median(runs, lambda each: each.cpu_s / each.events * 1e6)
            peak = max(each.peak_bytes for each in runs) >> 20
            worst = max(runs, key=lambda each: (each.wrong, each.duplicates))
            yield f"| {name} | {events:,} | {rate:,.0f} | {cost:.2f} | {peak} | {worst.state} |"
        if any(each.name == "faust" for each in self.throughput):
            yield ""
            yield "Plain Faust writes the current value for every event (its closing callback does not get the whole window), so"
            yield "its last value per window is compared; its count of results that came again is by design."

    def _latency(self) -> Iterable[str]:
        if not self.latency:
            return
        title = f"End-to-end latency, stateless topology, {RATE_PER_S:,} events/s"
        yield from _table(title, ("guarantee", "p50 ms", "p99 ms", "events", "results"))
        for guarantee in dict.fromkeys(each.guarantee for each in self.latency):
            runs = [each for each in self.latency if each.guarantee == guarantee]
            missing, repeated = max(each.missing for each in runs), max(each.repeated for each in runs)
            p50, p99 = _median(runs, lambda each: each.p50_ms), _median(runs, lambda each: each.p99_ms)
            state = _state(f"{missing:,} never came" if missing else "", repeated)
            yield f"| {guarantee} | {p50:.0f} | {p99:.0f} | {runs[0].count:,} | {state} |"

    def _restart(self) -> Iterable[str]:
        if not self.restart:
            return
        keys = self.restart[0].keys
        title = f"Restart after kill -9 with {keys:,} keys in state, start of the process included"
        yield from _table(title, ("start", "ready after s"))
        yield f"| without any state | {_median(self.restart, lambda each: each.empty_s):.2f} |"
        yield f"| with the disk | {_median(self.restart, lambda each: each.warm_s):.2f} |"
        cold_s = _median(self.restart, lambda each: each.cold_s)
        yield f"| without the disk, {keys / cold_s:,.0f} changelog records/s | {cold_s:.2f} |"


def _table(title: str, columns: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def _median(runs: Sequence[Each], value: Callable[[Each], float]) -> float:
    return statistics.median(map(value, runs))


def _state(wrong: str, repeated: int) -> str:
    parts = [wrong, f"{repeated:,} came twice" if repeated else ""]
    return ", ".join(filter(None, parts)) or "exact"
