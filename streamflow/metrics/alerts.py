"""Metrics of alerts: what is open, of the worker that judges; and what its notifiers took."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge


class AlertMetrics:
    """Gauges, set when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._judges = Gauge("streamflow_alerts_judge", "1 on the worker that judges rules", registry=registry)
        said = "open alerts, of rules and nodes, on the worker that judges"
        self._open = Gauge("streamflow_alerts_open", said, ("severity",), registry=registry)
        self._told = Gauge(
            "streamflow_alert_notifications",
            "alerts that notifiers took or refused, and messages that have to be sent again",
            ("outcome",),
            registry=registry,
        )

    def fill(self, counts: Mapping[str, int] | None, told: Mapping[str, int]) -> None:
        """counts: open alerts by severity; None where another worker judges."""
        self._judges.set(counts is not None)
        self._open.clear()
        for severity, count in (counts or {}).items():
            self._open.labels(severity).set(count)
        for outcome, count in told.items():
            self._told.labels(outcome).set(count)
