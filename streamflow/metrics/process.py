"""What a process has used: CPU, memory, open files and garbage collections, read when they are asked for."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

_STATUS = Path("/proc/self/status")


def add_process_metrics(registry: CollectorRegistry) -> None:
    """Of this process. The peak is known where the kernel is Linux."""
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if _STATUS.exists():
        peak = Gauge("process_peak_memory_bytes", "most memory that was resident at once", registry=registry)
        peak.set_function(_peak_bytes)


def _peak_bytes() -> float:
    """VmHWM: of this program alone, where getrusage begins with what its parent had."""
    line = next(each for each in _STATUS.read_text().splitlines() if each.startswith("VmHWM:"))
    return float(line.split()[1]) * 1_024
