"""Metrics that nodes declare, as families of the registry; see streamflow/kit/indicators.py."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: (kind, name, help, labels, number per labels' values)
Declared = tuple[str, str, str, tuple[str, ...], Mapping[tuple[str, ...], float]]


class DeclaredMetrics(Collector):
    """Read when somebody asks. `of`: topology and what gives the indicators, once the worker has its nodes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.of: tuple[str, Callable[[], Iterable[Declared]]] | None = None
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Nothing is known beforehand."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """A family of each."""
        if self.of is None:
            return
        topology, declared = self.of
        for kind, name, said, labels, numbers in declared():
            make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            family = make(f"streamflow_user_{name}", said, labels=("topology", *labels))
            for values, number in numbers.items():
                family.add_metric((topology, *values), number)
            yield family
