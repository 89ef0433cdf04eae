"""Metrics of calls to the outside, by node. Set from plain integers when somebody asks, as the others are."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

_PREFIX = "streamflow_calls"
_COUNTS = {
    "attempts": "attempts since the start",
    "answered": "rows whose call was answered",
    "retried": "attempts that were repeated",
    "fallbacks": "rows that became the fallback",
    "expired": "rows that were left out, as it was too late for them",
    "seconds": "time spent in attempts",
    "under_way": "attempts that have not ended",
}
_CACHE = {
    "hits": "results that were kept",
    "misses": "results that had to be asked for",
    "entries": "results kept now",
    "bytes": "bytes of results kept now",
    "evictions": "results dropped for room",
    "hit_ratio": "hits of all look-ups",
}
_DISK = {
    "entries": "results kept on disk",
    "bytes": "bytes of results kept on disk",
    "hits": "results that were found on disk",
}
_CIRCUITS = {"closed": 0.0, "half_open": 0.5, "open": 1.0}


class CallMetrics:
    """Gauges of every async node of a worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        node = ("topology", "node")
        self._counts = {
            name: Gauge(f"{_PREFIX}_{name}", said, node, registry=registry) for name, said in _COUNTS.items()
        }
        self._cache = {
            name: Gauge(f"{_PREFIX}_cache_{name}", said, node, registry=registry) for name, said in _CACHE.items()
        }
        self._disk = {
            name: Gauge(f"{_PREFIX}_cache_disk_{name}", said, node, registry=registry) for name, said in _DISK.items()
        }
        self._failed = Gauge(f"{_PREFIX}_failed", "attempts that failed, by class", (*node, "class"), registry=registry)
        said = "circuit of a target: 0 closed, 0.5 half open, 1 open"
        self._circuit = Gauge(f"{_PREFIX}_circuit", said, (*node, "target"), registry=registry)

        said = "most memory that a process of the node has had; nodes without processes share the worker's"
        self._peak = Gauge("streamflow_node_peak_memory_bytes", said, node, registry=registry)

    def fill(self, topology: str, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        """Set everything. nodes: what `GuardedCaller.view` gives, by node."""
        self._circuit.clear()
        for node, view in nodes.items():
            for name, gauge in self._counts.items():
                gauge.labels(topology, node).set(view[name])
            for name, gauge in self._cache.items() if view["cache"] else ():
                gauge.labels(topology, node).set(view["cache"][name])
            for name, gauge in self._disk.items() if view["cache"] and view["cache"]["disk"] else ():
                gauge.labels(topology, node).set(view["cache"]["disk"][name])
            if view["peak_bytes"] is not None:
                self._peak.labels(topology, node).set(view["peak_bytes"])
            for error_class, count in view["failed"].items():
                self._failed.labels(topology, node, error_class).set(count)
            for target, circuit in view["circuits"].items():
                self._circuit.labels(topology, node, target).set(_CIRCUITS[circuit])
