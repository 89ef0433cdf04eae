"""What kind of node is behind a name: joined to other metrics of nodes, they are summed by kind or by category."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge


class NodeInfo:
    """A series per node, always 1."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("topology", "stage", "node", "kind", "category")
        self._info = Gauge("streamflow_node_info", "kind and category of a node", labels, registry=registry)

    def fill(self, topology: str, nodes: Iterable[tuple[str, str, str, str]]) -> None:
        """Say of each node (stage, node, kind, category)."""
        for node in nodes:
            self._info.labels(topology, *node).set(1)
