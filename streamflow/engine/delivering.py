"""The delivery of a task whose stage is a sink outside of Kafka; of any other there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamflow.inference.models import Models
from streamflow.model.chunk import Chunk
from streamflow.nodes.sink_operators import Deliver
from streamflow.plan.plan import Plan, Stage
from streamflow.sinks.delivery import Batch
from streamflow.sinks.opening import open_delivery
from streamflow.sinks.target import Target


@dataclass(frozen=True, slots=True)
class Resources:
    """What tasks use of their process: loaded models, and the folder of file sinks. None: who needs it fails."""

    models: Models | None = None
    files_dir: Path | None = None


def target_of(stage: Stage) -> Target | None:
    """What a stage delivers to, None when it is no sink outside of Kafka."""
    for node in stage.nodes:
        if isinstance(node.operator, Deliver):
            return node.operator.target
    return None


def delivering_of(
    plan: Plan, stage: Stage, resources: Resources, partition: int, positions: Mapping[tuple[str, int], int]
) -> "Delivering | None":
    """The delivery of a task, None when its stage is no sink. Raises SettingsError, SinkFailed, SinkRefused."""
    target = target_of(stage)
    if target is None:
        return None
    return Delivering(plan, stage, target, resources, partition, positions[stage.entries[0].topic, partition])


class Delivering:
    """Rows go to `add`; those before what is outside already are left out."""

    def __init__(
        self, plan: Plan, stage: Stage, target: Target, resources: Resources, partition: int, position: int
    ) -> None:
        entry, self._place = stage.entries[0], (stage.entries[0].topic, partition)
        name = f"{plan.identity}.{stage.name}"
        self._delivery = open_delivery(target, entry.schema, resources.files_dir, name, partition, position)
        self._known = 0

    def expect(self, chunk: Chunk, places: Sequence[int]) -> None:
        """Rows of these values of a chunk come next."""
        until = self._delivery.done_until
        if places and chunk.offset_at(places[0]) < until:
            self._known += sum(1 for place in places if chunk.offset_at(place) < until)

    def add(self, row: Any) -> None:
        """One more row. Raises SinkFailed."""
        if self._known:
            self._known -= 1
        else:
            self._delivery.add(row)

    def take(self, positions: dict[tuple[str, int], int]) -> Batch | None:
        """What came since the last checkpoint."""
        return self._delivery.take(positions[self._place])

    def close(self) -> None:
        """Leave what was not taken."""
        self._delivery.close()
