"""The models of a worker, as its settings say."""

from streamflow.inference.files import files_of
from streamflow.inference.models import Models
from streamflow.nodes.operators import Score
from streamflow.plan.plan import Plan
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
