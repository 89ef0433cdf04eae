"""What a node does with its rows, worked out when somebody asks."""

from prometheus_client import CollectorRegistry, Gauge


class NodeRates:
    """Gauges per node. Those of tasks that have moved away are forgotten before they are filled."""

    def __init__(self, registry: CollectorRegistry) -> None:
        node = ("topology", "stage", "node")
        said = "share of the rows that did not go on"
        reduction = Gauge("streamflow_node_reduction_ratio", said, node, registry=registry)
        said = "mean time of a row since the start: of the stage's work, or of an attempt of an async node"
        latency = Gauge("streamflow_node_latency_seconds", said, node, registry=registry)
        said = "rows that came to a node and did not fail"
        succeeded = Gauge("streamflow_node_rows_succeeded", said, node, registry=registry)
        said = "rows that failed at a node: dead letters, and what went on as failed"
        failed = Gauge("streamflow_node_rows_failed", said, node, registry=registry)
        said = "Unix time of the last commit that had rows of a node, as of the last look"
        last = Gauge("streamflow_node_last_execution_seconds", said, node, registry=registry)
        self.of_tasks = (reduction, latency, succeeded, failed, last)

    def fill(self, node: tuple[str, str, str], *values: float | None) -> None:
        """Set what is known of a node (topology, stage, node), in the order of `of_tasks`."""
        for gauge, value in zip(self.of_tasks, values, strict=True):
            if value is not None:
                gauge.labels(*node).set(value)
