"""Metrics of the models that a worker's tasks ask."""

from prometheus_client import CollectorRegistry, Gauge


class ModelFamilies:
    """Counts are since the tasks opened. `of_tasks`: those that go when a task moves away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        model = ("topology", "stage", "node", "version")
        self.rows = Gauge("streamflow_model_rows", "rows that a model answered", model, registry=registry)
        self.calls = Gauge("streamflow_model_calls", "calls of a model", model, registry=registry)
        self.failed = Gauge("streamflow_model_failed", "rows a model had no answer for", model, registry=registry)
        self.seconds = Gauge("streamflow_model_seconds", "time in calls of a model", model, registry=registry)
        self.drift = Gauge(
            "streamflow_model_drift", "population stability index of an input: over 0.25 it has moved",
            (*model, "input"), registry=registry,
        )  # fmt: skip
        self.loads = Gauge("streamflow_model_loads", "models that the worker loaded", registry=registry)
        self.hits = Gauge("streamflow_model_hits", "times that a model was held already", registry=registry)
        self.of_tasks = (self.rows, self.calls, self.failed, self.seconds, self.drift)
