"""What a worker's tasks know about the models they ask, as metrics and as data."""

from typing import Any

from streamflow.engine.scorer import ModelCounts
from streamflow.metrics.model_families import ModelFamilies
from streamflow.runtime.hosted_task import TaskState
from streamflow.runtime.worker import Worker


def asked_models(worker: Worker) -> list[dict[str, Any]]:
    """Versions in use or used, by stage and node: sums over the tasks of a stage, and the greatest drift of any."""
    found: dict[tuple[str, str, str], list[ModelCounts]] = {}
    for task in worker.host.tasks.values():
        if task.state in (TaskState.RUNNING, TaskState.SUSPENDED):
            for scorer in task.task.scorers.all:
                for version, counts in scorer.counts.items():
                    found.setdefault((task.stage.name, scorer.node, version), []).append(counts)
    return [
        {"stage": stage, "node": node, "version": version, **_sum(counts)}
        for (stage, node, version), counts in sorted(found.items())
    ]


def _sum(counts: list[ModelCounts]) -> dict[str, Any]:
    indices = [each.drift.index() for each in counts if each.drift is not None]
    return {
        "rows": sum(each.rows for each in counts),
        "calls": sum(each.calls for each in counts),
        "failed": sum(each.failed for each in counts),
        "seconds": round(sum(each.seconds for each in counts), 6),
        "drift": {
            name: max(index.get(name, 0.0) for index in indices)
            for name in sorted({name for index in indices for name in index})
        },
    }


def models_view(worker: Worker) -> dict[str, Any]:
    """As the API shows it. loads, hits: models that the worker loaded, and times that one was held already."""
    return {"loads": worker.models.loads, "hits": worker.models.hits, "asked": asked_models(worker)}


def show_models(families: ModelFamilies, topology: str, worker: Worker) -> None:
    """Fill the gauges of models."""
    asked = asked_models(worker)
    for each in asked:
        labels = (topology, each["stage"], each["node"], each["version"])
        families.rows.labels(*labels).set(each["rows"])
        families.calls.labels(*labels).set(each["calls"])
        families.failed.labels(*labels).set(each["failed"])
        families.seconds.labels(*labels).set(each["seconds"])
        for name, index in each["drift"].items():
            families.drift.labels(*labels, name).set(index)
    if asked:
        families.loads.set(worker.models.loads)
        families.hits.set(worker.models.hits)
