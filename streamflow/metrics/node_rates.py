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
        self.of_tasks = (reduction, latency)

    def fill(self, node: tuple[str, str, str], reduction: float | None, latency_s: float | None) -> None:
        """Set what is known of a node (topology, stage, node)."""
        for gauge, value in zip(self.of_tasks, (reduction, latency_s), strict=True):
            if value is not None:
                gauge.labels(*node).set(value)
