"""Every metric of a worker, in one table. Only this package imports prometheus_client.

Counts are set from plain integers between chunks; nothing here is called per event.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from streamflow.metrics.alerts import AlertMetrics
from streamflow.metrics.calls import CallMetrics
from streamflow.metrics.declared import DeclaredMetrics
from streamflow.metrics.model_families import ModelFamilies
from streamflow.metrics.node_info import NodeInfo
from streamflow.metrics.node_rates import NodeRates
from streamflow.metrics.process import add_process_metrics
from streamflow.metrics.shown import Shown
from streamflow.metrics.stream_families import StreamFamilies
from streamflow.metrics.timers import TimerMetrics

_OPENMETRICS, _PLAIN = "application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Metric families with their labels. One registry per worker process. hidden: nodes whose series are left out."""

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        self.registry = registry = CollectorRegistry()
        self.shown = Shown(registry, hidden)
        stage, table = ("topology", "stage"), ("topology", "table")
        node, task = (*stage, "node"), (*stage, "partition")
        said = "rows that came to a node since its tasks opened"
        self.rows_in = Gauge("streamflow_node_rows_in", said, node, registry=registry)
        self.rows_out = Gauge("streamflow_node_rows_out", "rows that left a node", node, registry=registry)
        self.rows_late = Gauge("streamflow_node_rows_late", "rows of closed windows", node, registry=registry)
        self.rows_dead = Gauge("streamflow_node_rows_dead", "rows that became dead letters", node, registry=registry)
        said = "versions that left a table by a bound, before its retention"
        self.rows_dropped = Gauge("streamflow_node_versions_dropped", said, node, registry=registry)
        self.events = Counter("streamflow_events", "records in committed checkpoints", task, registry=registry)
        self.outputs = Counter("streamflow_outputs", "output records in committed checkpoints", task, registry=registry)
        self.checkpoint_seconds = Histogram(
            "streamflow_checkpoint_seconds", "from taking a checkpoint to its store write", ("topology", "stage"),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.latency_seconds = Histogram(
            "streamflow_end_to_end_seconds", "from fetching the oldest record of a checkpoint to its commit",
            ("topology", "stage"), buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        sizes = (1, 10, 100, 1_000, 10_000, 100_000)
        self.checkpoint_records = Histogram(
            "streamflow_checkpoint_records", "records in a checkpoint", stage, buckets=sizes, registry=registry
        )
        self.chunk_records = Histogram(
            "streamflow_chunk_records", "records in a chunk", stage, buckets=sizes, registry=registry
        )
        self.chunk_seconds = Histogram(
            "streamflow_chunk_seconds", "work on a chunk", stage, buckets=_SECONDS, registry=registry
        )
        self.watermark_seconds = Gauge(
            "streamflow_watermark_seconds", "committed watermark, Unix time", task, registry=registry
        )
        self.watermark_lag_seconds = Gauge(
            "streamflow_watermark_lag_seconds", "wall clock minus watermark; none at the end of a bounded run", task,
            registry=registry,
        )  # fmt: skip
        self.lag_records = Gauge(
            "streamflow_lag_records", "records of the inputs not yet committed", task, registry=registry
        )
        said = "records not yet committed of each level of a node, the ordinary one without a name"
        self.level_lag = Gauge("streamflow_level_lag_records", said, (*task, "node", "level"), registry=registry)
        self.state_bytes = Gauge("streamflow_state_bytes", "bytes of a task's store", task, registry=registry)
        said = "how far a restore is, 1 when done"
        self.restore_ratio = Gauge("streamflow_restore_ratio", said, task, registry=registry)
        self.table_rows = Gauge("streamflow_global_table_rows", "rows of a global table", table, registry=registry)
        said = "keys and rows as JSON, what max_bytes bounds"
        self.table_bytes = Gauge("streamflow_global_table_bytes", said, table, registry=registry)
        said = "records of its topic not yet applied"
        self.table_lag = Gauge("streamflow_global_table_lag_records", said, table, registry=registry)
        said = "records since the start that could not be used"
        self.table_bad = Gauge("streamflow_global_table_bad_records", said, table, registry=registry)
        self.live_clients = Gauge("streamflow_live_clients", "followers of tables", ("topology",), registry=registry)
        self.models, self.calls = ModelFamilies(registry), CallMetrics(registry)
        self.alerts, self.declared = AlertMetrics(registry), DeclaredMetrics(registry)
        self.stream, self.rates, self.info = StreamFamilies(registry), NodeRates(registry), NodeInfo(registry)
        self.timers = TimerMetrics(registry)
        add_process_metrics(registry)

    def forget_tasks(self) -> None:
        """Before gauges are filled: what a task that has moved away showed last is not true any more."""
        for gauge in (
            self.rows_in, self.rows_out, self.rows_late, self.rows_dead, self.rows_dropped, self.watermark_seconds,
            self.watermark_lag_seconds, self.lag_records, self.level_lag, self.state_bytes, self.restore_ratio,
            *self.models.of_tasks, *self.stream.of_tasks, *self.rates.of_tasks,
        ):  # fmt: skip
            gauge.clear()

    def committed(self, labels: tuple[str, str], took_s: float, latency_s: float | None, trace_id: str | None) -> None:
        """A checkpoint of a stage took so long. trace_id: of a traced event in it, the example of its times."""
        exemplar = None if trace_id is None else {"trace_id": trace_id}
        self.checkpoint_seconds.labels(*labels).observe(took_s, exemplar)
        if latency_s is not None:
            self.latency_seconds.labels(*labels).observe(latency_s, exemplar)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Exposition in what the scraper accepts, and its media type; examples are in OpenMetrics only."""
        if _OPENMETRICS in accept:
            return openmetrics.generate_latest(self.shown), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
        return generate_latest(self.shown), _PLAIN
