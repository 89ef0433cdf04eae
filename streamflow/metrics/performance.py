"""What follows from a worker's metrics of two moments, and from its process: for alerts and reports."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

#: Metric, labels, value.
Point = tuple[str, dict[str, str], float]

_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Performance:
    """What is computed from two samples, the last one and this, and from the process itself.

    response_time_ms           mean from fetching a checkpoint's oldest record to its commit; none without a checkpoint
    error_rate_percent         dead letters of records in committed checkpoints
    throughput_per_second      records in committed checkpoints
    queue_size                 records of the inputs not yet committed
    active_workflows           tasks that this worker has
    cpu_usage_percent          of one core
    memory_usage_percent       resident memory, of the container's limit or else of the machine
    """

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._at_s, self._cpu_s = time.monotonic(), time.process_time()
        self._memory_bytes = _memory_bytes()

    def points(self, topology: str, found: list[Point]) -> Iterator[Point]:
        """Of a worker's sample."""
        at_s, cpu_s = time.monotonic(), time.process_time()
        span_s = max(1e-3, at_s - self._at_s)
        sums = _sums(found)
        grown = {name: _grown(value, self._before.get(name)) for name, value in sums.items()}
        labels = {"topology": topology}
        commits = grown.get("streamflow_end_to_end_seconds_count", 0.0)
        if commits:
            yield "response_time_ms", labels, grown["streamflow_end_to_end_seconds_sum"] * 1_000 / commits
        events, dead = grown.get("streamflow_events_total", 0.0), grown.get("streamflow_node_rows_dead", 0.0)
        yield "error_rate_percent", labels, min(100.0, 100 * dead / events) if events else 0.0
        yield "throughput_per_second", labels, events / span_s
        yield "queue_size", labels, sums.get("streamflow_lag_records", 0.0)
        yield "active_workflows", labels, float(sum(name == "streamflow_restore_ratio" for name, _, _ in found))
        yield "cpu_usage_percent", labels, 100 * (cpu_s - self._cpu_s) / span_s
        yield "memory_usage_percent", labels, 100 * _resident_bytes() / self._memory_bytes
        self._before, self._at_s, self._cpu_s = sums, at_s, cpu_s


def _sums(found: list[Point]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, _, value in found:
        sums[name] = sums.get(name, 0.0) + value
    return sums


def _grown(value: float, before: float | None) -> float:
    """By how much; what became less began anew, as tasks do that move away."""
    return 0.0 if before is None else value - before if value >= before else value


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # no Linux: the greatest so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def _memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(machine, int(text))
    return machine
