"""What a worker's tasks know about the models they ask, as metrics."""

from streamflow.engine.scorer import ModelCounts
from streamflow.metrics.model_families import ModelFamilies
from streamflow.runtime.hosted_task import TaskState
from streamflow.runtime.worker import Worker


def show_models(families: ModelFamilies, topology: str, worker: Worker) -> None:
    """Fill the gauges of models: sums over the tasks of a stage, and the greatest drift of any."""
    sums: dict[tuple[str, str, str, str], list[ModelCounts]] = {}
    for task in worker.host.tasks.values():
        if task.state in (TaskState.RUNNING, TaskState.SUSPENDED):
            for scorer in task.task.scorers.all:
                for version, counts in scorer.counts.items():
                    sums.setdefault((topology, task.stage.name, scorer.node, version), []).append(counts)
    for labels, found in sums.items():
        families.rows.labels(*labels).set(sum(each.rows for each in found))
        families.calls.labels(*labels).set(sum(each.calls for each in found))
        families.failed.labels(*labels).set(sum(each.failed for each in found))
        families.seconds.labels(*labels).set(sum(each.seconds for each in found))
        indices = [each.drift.index() for each in found if each.drift is not None]
        for name in {name for index in indices for name in index}:
            families.drift.labels(*labels, name).set(max(index.get(name, 0.0) for index in indices))
    if sums:
        families.loads.set(worker.models.loads)
        families.hits.set(worker.models.hits)
