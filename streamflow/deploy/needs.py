"""What nodes declare that they need of a worker besides buffers and tables.

model                    the models' libraries, and the models it holds loaded (models_max_bytes)
process                  `memory_bytes` of its class, per task
wasm                     `memory_pages`, for each of its threads
python with processes    a core for each, and `memory_bytes` or a Python
http_request, webhook    the way to the port of their URL
`requires` of any        a GPU of the pod, or a label of the machine
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamflow.calls.coroutine import CoroutineAction
from streamflow.calls.http import HttpAction
from streamflow.calls.processes import ProcessesAction
from streamflow.nodes.operators import Apply, Await, Process, Score
from streamflow.plan.placement import EXTRAS
from streamflow.plan.plan import Plan
from streamflow.settings.settings import Settings

#: onnxruntime and numpy, measured after their import.
_MODEL_LIBRARIES_BYTES = 48 << 20
#: A process that calls a function: 25 MiB were measured, the rest is for what the function imports.
_PROCESS_BYTES = 64 << 20
_NVIDIA = "nvidia.com/gpu"
_DEVICES = {_NVIDIA: {"cuda", "tensorrt"}, "amd.com/gpu": {"rocm", "migraphx"}}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one worker: bytes, cores besides its own, ports outside that its nodes call, and what they require of workers.

    devices: how many of each extended resource of Kubernetes. labels: of the machines that have the rest.
    """

    memory_bytes: int
    cores: int
    ports: tuple[int, ...]
    capabilities: tuple[str, ...] = ()

    @property
    def devices(self) -> dict[str, str]:
        """One GPU, of whoever makes what is required; what nobody in particular makes is NVIDIA's."""
        required = set(self.capabilities)
        made = [resource for resource, names in _DEVICES.items() if names & required]
        return dict.fromkeys(made or [_NVIDIA] * ("gpu" in required), "1")

    @property
    def labels(self) -> dict[str, str]:
        """`streamflow/avx512: "true"` of machines that people have labelled so."""
        known = frozenset({"gpu"}).union(*_DEVICES.values())
        return {f"streamflow/{name}": "true" for name in self.capabilities if name not in known}


def needs_of(plan: Plan, settings: Settings, partitions: int, workers: int) -> Needs:
    """Of one of `workers` workers when every stage has `partitions` tasks."""
    operators = [node.operator for stage in plan.stages for node in stage.nodes]
    actions = [each.action for each in operators if isinstance(each, Await)]
    pools = [each for each in actions if isinstance(each, ProcessesAction)]
    processes_bytes = sum(each.count * (each.memory_bytes or _PROCESS_BYTES) for each in pools)
    tasks = -(-partitions // workers)
    models = _MODEL_LIBRARIES_BYTES + settings.models_max_bytes if any(isinstance(o, Score) for o in operators) else 0
    classes = sum(tasks * getattr(o.declared.target, "memory_bytes", 0) for o in operators if isinstance(o, Process))
    functions = [each.declared for each in actions if isinstance(each, CoroutineAction)]
    functions += [each.declared for each in operators if isinstance(each, Apply)]
    classes += sum(getattr(each.target, "memory_bytes", 0) for each in functions)
    ports = {port for each in actions if isinstance(each, HttpAction) for port in _port(each)}
    required = {name for stage in plan.stages for name in stage.capabilities} - EXTRAS.keys()  # which the image has
    cores = sum(each.count for each in pools)
    return Needs(models + classes + processes_bytes, cores, tuple(sorted(ports)), tuple(sorted(required)))


def _port(action: HttpAction) -> Iterator[int]:
    first = action.url.parts[0]
    if isinstance(first, str):  # scheme, host and port stand in the text
        parts = urlsplit(first)
        yield parts.port or _PORTS[parts.scheme]
