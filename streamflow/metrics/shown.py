"""What is exposed of a registry: everything but the series of nodes that are left out."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector


class Shown(Collector):
    """A view, made anew by each look; families that have no series left are not in it."""

    def __init__(self, registry: CollectorRegistry, hidden: frozenset[str]) -> None:
        self._registry, self._hidden = registry, hidden

    def collect(self) -> Iterator[Metric]:
        """The families."""
        for family in self._registry.collect():
            if self._hidden and family.samples:
                family.samples = [each for each in family.samples if each.labels.get("node") not in self._hidden]
                if not family.samples:
                    continue
            yield family
