"""The delivery of a task whose stage is a sink outside of Kafka; of any other there is none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamflow.bus.cancellations import Cancellations
from streamflow.engine.dead import Dead, JudgedBatch
from streamflow.inference.models import Models
from streamflow.model.chunk import Chunk
from streamflow.nodes.sink_operators import Deliver
from streamflow.plan.plan import Plan, Stage
from streamflow.sinks.opening import open_delivery
from streamflow.sinks.target import Target


@dataclass(frozen=True, slots=True)
class Resources:
    """What tasks use of their process: loaded models, the folder of file sinks (None: who needs it fails), and the
    executions that were cancelled."""

    models: Models | None = None
    files_dir: Path | None = None
    cancelled: Cancellations = field(default_factory=Cancellations)


def target_of(stage: Stage) -> Target | None:
    """What a stage delivers to, None when it is no sink outside of Kafka."""
    for node in stage.nodes:
        if isinstance(node.operator, Deliver):
            return node.operator.target
    return None


def delivering_of(
    plan: Plan,
    stage: Stage,
    resources: Resources,
    partition: int,
    positions: Mapping[tuple[str, int], int],
    dead: Dead,
) -> "Delivering | None":
    """The delivery of a task, None when its stage is no sink. Raises SettingsError, SinkFailed, SinkRefused."""
    target = target_of(stage)
    if target is None:
        return None
    return Delivering(plan, stage, target, resources, partition, positions[stage.entries[0].topic, partition], dead)


class Delivering:
    """Rows go to `add`; those before what is outside already are left out, and put aside if they were refused."""

    def __init__(
        self, plan: Plan, stage: Stage, target: Target, resources: Resources, partition: int, position: int, dead: Dead
    ) -> None:
        entry, self._place = stage.entries[0], (stage.entries[0].topic, partition)
        name = f"{plan.identity}.{stage.name}"
        self._delivery = open_delivery(target, entry.schema, resources.files_dir, name, partition, position)
        self._node, self._dead = entry.node, dead
        self._known = 0
        self._coming: Iterator[tuple[Chunk, int]] = iter(())

    def expect(self, chunk: Chunk, places: Sequence[int]) -> None:
        """Rows of these values of a chunk come next."""
        until = self._delivery.done_until
        self._coming = ((chunk, place) for place in places)
        if places and chunk.offset_at(places[0]) < until:
            self._known += sum(1 for place in places if chunk.offset_at(place) < until)

    def add(self, row: Any) -> None:
        """One more row. Raises SinkFailed."""
        chunk, index = next(self._coming)
        if not self._known:
            self._delivery.add(row, chunk, index)
            return
        self._known -= 1
        refused = self._delivery.refusal(chunk.offset_at(index))
        if refused is not None:
            self._dead.record(chunk, index, self._node, refused)

    def take(self, positions: dict[tuple[str, int], int]) -> JudgedBatch | None:
        """What came since the last checkpoint."""
        batch = self._delivery.take(positions[self._place])
        return None if batch is None else JudgedBatch(batch, self._dead, self._node)

    def close(self) -> None:
        """Leave what was not taken."""
        self._delivery.close()
