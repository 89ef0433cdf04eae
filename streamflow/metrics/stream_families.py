"""Metrics of tasks' streams: the figures that a view shows, by task."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

_SAID = {
    "windows_open": "windows, sessions and rows that wait, in memory",
    "parked_keys": "keys that wait behind a dead letter",
    "parked_events": "events that wait behind their parked keys",
    "unparked_keys": "keys that failed and were not parked, as max_keys were, since the task opened",
    "windows_closed": "final results of windows since the task opened",
    "out_of_order_events": "events earlier than one before them in their partition, since the task opened",
    "backpressure_events": "times that a full buffer made work or fetching wait, since the task opened",
    "buffer_ratio": "what waits for a commit, of the most that may",
    "events_per_second": "moving average over checkpoints",
    "latency_ms": "from fetching the oldest event of a checkpoint to its commit, moving average",
}


class StreamFamilies:
    """One gauge per figure. `of_tasks`: those that go when a task moves away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("topology", "stage", "partition")
        self._gauges = {
            name: Gauge(f"streamflow_stream_{name}", said, labels, registry=registry) for name, said in _SAID.items()
        }
        self.of_tasks = tuple(self._gauges.values())

    def fill(self, labels: tuple[str, str, str], figures: Mapping[str, float]) -> None:
        """Set those of one task; figures without a gauge are for views only."""
        for name, gauge in self._gauges.items():
            gauge.labels(*labels).set(figures[name])
