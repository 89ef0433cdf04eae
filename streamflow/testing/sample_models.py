"""Models for whoever tests a topology that asks some, without training one."""

from collections.abc import Iterable

import orjson

from streamflow.errors import ModelError
from streamflow.inference.card import InputType, ModelCard, ModelInput, Task
from streamflow.inference.files import digest_of
from streamflow.inference.models import Models
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Score
from streamflow.plan.plan import Plan


class MemoryFiles:
    """Model files in memory, by digest."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def add(self, data: bytes) -> str:
        """Keep a file; its digest."""
        digest = digest_of(data)
        self._data[digest] = data
        return digest

    def read(self, card: ModelCard) -> bytes:
        """A card's file. Raises ModelError."""
        if card.digest not in self._data:
            raise ModelError(f"the file of model {card.id} was not added")
        return self._data[card.digest]


def linear_model(
    files: MemoryFiles, name: str, version: str, weights: list[list[float]], task: Task = Task.REGRESSION
) -> ModelCard:
    """The card of a linear model, one row of weights per output, whose file was added to `files`."""
    data = orjson.dumps({"weights": weights, "intercepts": [0.5 * place for place in range(len(weights))]})
    inputs = tuple(ModelInput(f"x{place}", InputType.NUMBER) for place in range(len(weights[0])))
    return ModelCard(name, version, "linear", task, files.add(data), len(data), inputs)


def samples(plan: Plan) -> tuple[Models, Iterable[tuple[str, ModelCard]]]:
    """(models, (registry topic, card) …): a linear model for every node of a plan that takes numbers and gives some."""
    files, cards = MemoryFiles(), []
    for score in (node.operator for stage in plan.stages for node in stage.nodes):
        if isinstance(score, Score) and all(each.type is not FieldType.STR for each in score.inputs):
            rows = 2 if score.task is Task.CLASSIFICATION else 1
            weights = [[(place + row + 1) / 4 for place in range(len(score.inputs))] for row in range(rows)]
            cards.append((score.registry, linear_model(files, score.model, "1", weights, score.task)))
    return Models(files, 1 << 20), cards
