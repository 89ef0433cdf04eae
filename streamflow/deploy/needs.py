"""What nodes declare that they need of a worker besides buffers and tables.

model                    the models' libraries, and the models it holds loaded (models_max_bytes)
process                  `memory_bytes` of its class, per task
python with processes    a core for each, and `memory_bytes` or a Python
http_request, webhook    the way to the port of their URL
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamflow.calls.http import HttpAction
from streamflow.calls.processes import ProcessesAction
from streamflow.nodes.operators import Await, Process, Score
from streamflow.plan.plan import Plan
from streamflow.settings.settings import Settings

#: onnxruntime and numpy, measured after their import.
_MODEL_LIBRARIES_BYTES = 48 << 20
#: A process that calls a function: 25 MiB were measured, the rest is for what the function imports.
_PROCESS_BYTES = 64 << 20
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one worker: bytes, cores besides its own, and ports outside that its nodes call."""

    memory_bytes: int
    cores: int
    ports: tuple[int, ...]


def needs_of(plan: Plan, settings: Settings, partitions: int, workers: int) -> Needs:
    """Of one of `workers` workers when every stage has `partitions` tasks."""
    operators = [node.operator for stage in plan.stages for node in stage.nodes]
    actions = [each.action for each in operators if isinstance(each, Await)]
    pools = [each for each in actions if isinstance(each, ProcessesAction)]
    processes_bytes = sum(each.count * (each.memory_bytes or _PROCESS_BYTES) for each in pools)
    tasks = -(-partitions // workers)
    models = _MODEL_LIBRARIES_BYTES + settings.models_max_bytes if any(isinstance(o, Score) for o in operators) else 0
    classes = sum(tasks * getattr(o.declared.target, "memory_bytes", 0) for o in operators if isinstance(o, Process))
    ports = {port for each in actions if isinstance(each, HttpAction) for port in _port(each)}
    return Needs(models + classes + processes_bytes, sum(each.count for each in pools), tuple(sorted(ports)))


def _port(action: HttpAction) -> Iterator[int]:
    first = action.url.parts[0]
    if isinstance(first, str):  # scheme, host and port stand in the text
        parts = urlsplit(first)
        yield parts.port or _PORTS[parts.scheme]
