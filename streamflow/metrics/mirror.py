"""Metrics of a mirror between regions, and the little server that shows them."""

from prometheus_client import CollectorRegistry, Gauge, start_http_server


class MirrorMetrics:
    """Per partition of the source. Labels: origin, topic, partition."""

    def __init__(self, origin: str) -> None:
        self._origin, self.registry = origin, CollectorRegistry()
        labels = ("origin", "topic", "partition")
        said = "records copied since the mirror began"
        self._copied = Gauge("streamflow_mirror_copied_records", said, labels, registry=self.registry)
        said = "offsets of the source that are not copied yet"
        self._lag = Gauge("streamflow_mirror_lag_records", said, labels, registry=self.registry)
        said = "time since everything in the source was here; what would be lost with it now"
        self._behind = Gauge("streamflow_mirror_behind_seconds", said, labels, registry=self.registry)

    def fill(self, topic: str, partition: int, copied: int, lag: int | None, behind_s: float) -> None:
        """Figures of a partition; lag None: not known yet."""
        labels = (self._origin, topic, str(partition))
        self._copied.labels(*labels).set(copied)
        self._behind.labels(*labels).set(behind_s)
        if lag is not None:
            self._lag.labels(*labels).set(lag)

    def serve(self, host: str, port: int) -> None:
        """Answer every GET with the metrics, on a thread that ends with the process. Raises OSError."""
        start_http_server(port, host, self.registry)
