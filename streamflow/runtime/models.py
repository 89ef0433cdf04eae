"""The models of a worker, as its settings say, and those of a task before it opens."""

from collections.abc import Mapping

from streamflow.engine.global_table import GlobalTable
from streamflow.engine.scorer import Scorers
from streamflow.inference.card import ModelCard
from streamflow.inference.files import files_of
from streamflow.inference.models import Models
from streamflow.nodes.operators import Score
from streamflow.plan.plan import Plan, Stage
from streamflow.settings.settings import Settings

_CPU = ("CPUExecutionProvider",)


def models_of(plan: Plan, settings: Settings) -> Models:
    """Nothing is loaded yet. Raises SettingsError, and ModelError for execution providers that are not there."""
    providers = tuple(each.strip() for each in settings.onnx_providers.split(",") if each.strip())
    if providers != _CPU and any(isinstance(node.operator, Score) for stage in plan.stages for node in stage.nodes):
        from streamflow.inference.onnx_adapter import refuse_providers

        refuse_providers(providers)
    files = files_of(settings.models_dir, settings.models_url, settings.models_dir_max_bytes)
    return Models(files, settings.models_max_bytes, background=True, providers=providers)


async def bring_models(
    models: Models, stage: Stage, tables: Mapping[str, GlobalTable], versions: tuple[tuple[str, str], ...]
) -> None:
    """Load what a task will ask for when it opens, beside the loop. Raises ModelError, StateMismatch.

    versions: in use at its last checkpoint. The latest may be another one by the time that it is there.
    """
    there: list[ModelCard] = []
    while (wanted := Scorers.of(stage, tables).resolve(versions)) != there:
        for card in wanted:
            await models.bring(card)
        there = wanted
