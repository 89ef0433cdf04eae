"""What a worker has that nodes may require: what its settings name, extras that are installed, and accelerators.

gpu, cuda, rocm, tensorrt, …     an execution provider of the installed onnxruntime, and a device where it needs one
models, objects, wasm, …         extras whose packages are installed
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from streamflow.errors import SettingsError
from streamflow.plan.placement import EXTRAS, Where, placed
from streamflow.plan.plan import Plan
from streamflow.settings.settings import Settings

_NVIDIA, _AMD = ("nvidia0", "dxg"), ("kfd",)
#: Execution providers by what they are called here, and the devices of which one has to be there. A package has its
#: providers also where there is no device.
_ACCELERATORS = {
    "CUDAExecutionProvider": ("cuda", _NVIDIA),
    "TensorrtExecutionProvider": ("tensorrt", _NVIDIA),
    "ROCMExecutionProvider": ("rocm", _AMD),
    "MIGraphXExecutionProvider": ("migraphx", _AMD),
    "CoreMLExecutionProvider": ("coreml", ()),
    "OpenVINOExecutionProvider": ("openvino", ()),
}


def capabilities_of(settings: Settings, plan: Plan) -> frozenset[str]:
    """Those of this worker; nothing is looked for when no node requires anything."""
    if not any(stage.requires for stage in plan.stages):
        return frozenset(settings.named_capabilities)
    from streamflow.inference.onnx_adapter import providers_there  # and numpy

    extras = (name for name, module in EXTRAS.items() if _is_installed(module))
    return frozenset({*settings.named_capabilities, *extras, *accelerators(providers_there(), Path("/dev"))})


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def refuse_idleness(plan: Plan, has: frozenset[str]) -> None:
    """Raises SettingsError for a worker that can run no stage of the plan."""
    found = placed(plan, has, {})
    if all(each.where is Where.NOBODY for each in found):
        said = "; ".join(f"stage {each.stage.name}: {each.reason}" for each in found)
        raise SettingsError(f"this worker can run nothing of {plan.topology}: {said}: {found[0].remedy}")


def accelerators(providers: Iterable[str], devices: Path) -> set[str]:
    """What execution providers mean, with the devices in a folder; `gpu` when one of them is a GPU."""
    found: set[str] = set()
    for provider in providers:
        name, wanted = _ACCELERATORS.get(provider, ("", ()))
        if name and (not wanted or any((devices / each).exists() for each in wanted)):
            found |= {name, "gpu"} if wanted else {name}
    return found
