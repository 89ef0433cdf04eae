"""Metrics of sources with a timer, by node."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

_SAID = {
    "published": "events that this worker published when they were due",
    "missed": "moments that nobody was there for, and that were not made up for",
}


class TimerMetrics:
    """Set when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"streamflow_timer_{name}", said, ("topology", "node"), registry=registry)
            for name, said in _SAID.items()
        }

    def fill(self, topology: str, nodes: Mapping[str, Mapping[str, int]]) -> None:
        """Counts by node."""
        for node, counts in nodes.items():
            for name, gauge in self._gauges.items():
                gauge.labels(topology, node).set(counts[name])
