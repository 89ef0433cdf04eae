"""A worker's metrics at a moment as plain points: for the metrics stream, beside what Prometheus scrapes."""

from prometheus_client.registry import Collector

from streamflow.metrics.performance import Point

_LEFT_OUT = ("_bucket", "_created", "_info")


def points_of(registry: Collector) -> list[Point]:
    """Every sample of a registry but the buckets of histograms."""
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith(_LEFT_OUT)
    ]
