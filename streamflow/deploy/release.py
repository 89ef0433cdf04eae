"""A topology as a release: the values of the chart that follow from its plan."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamflow.deploy.needs import Needs, needs_of
from streamflow.deploy.preflight import memory_quantity, widest
from streamflow.deploy.resources import estimate_memory
from streamflow.deploy.values import OF_THE_POD
from streamflow.errors import UserError
from streamflow.plan.plan import Plan
from streamflow.settings.settings import SECRETS, Settings

#: A ConfigMap takes 1 MiB with its names.
FILES_MAX_BYTES = 900 << 10
_SUFFIXES = (".yaml", ".yml", ".py", ".json", ".wat")
_BINARY = ".wasm"


def release_values(
    plan: Plan, place: Path, settings: Settings, counts: Mapping[str, int], workers: int
) -> dict[str, Any]:
    """Values for `helm -f`: files, partitions and topics of the topology, what its nodes need, settings given.

    place: folder or file of the topology. counts: partitions of every topic. Raises UserError when the files are too
    large or in folders.
    """
    partitions = widest(plan, counts)
    needs = needs_of(plan, settings, partitions, workers)
    inputs = dict.fromkeys(topic for stage in plan.stages for topic in stage.input_topics)
    given = settings.model_dump(mode="json", include=set(settings.model_fields_set) - OF_THE_POD - SECRETS)
    return {
        "topology": {
            "name": plan.topology,
            "partitions": partitions,
            "inputTopics": list(inputs),
            "topics": [
                {"name": each.name, "partitions": counts[each.name], "config": dict(each.config)}
                for each in plan.topics
            ],
            "files": topology_files(place),
            "binaries": topology_binaries(place),
        },
        "settings": {"brokers": settings.brokers, **_capabilities(needs), **given},
        "replicas": min(workers, partitions),
        "autoscaling": {"maxReplicas": partitions},
        "resources": {
            "cpu": str(1 + needs.cores),
            "memory": memory_quantity(estimate_memory(plan, settings, partitions, workers)),
            "extended": needs.devices,
        },
        "nodeSelector": needs.labels,
        "networkPolicy": {"extraEgress": _egress(needs.ports)},
    }


def _capabilities(needs: Needs) -> dict[str, str]:
    """Where the pod's place says what it has, it need not look for it."""
    return {"capabilities": ",".join(needs.capabilities)} if needs.capabilities else {}


def _egress(ports: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{"ports": [{"port": port, "protocol": "TCP"} for port in ports]}] if ports else []


def topology_files(place: Path) -> dict[str, str]:
    """Texts of the topology and of what lies beside it (YAML, Python, JSON, WebAssembly), by name. Raises UserError."""
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    hidden = [path.name for path in paths if path.is_dir() and any(path.rglob("*.py")) and path.name != "__pycache__"]
    if hidden:
        raise UserError(f"{place}: modules in folders ({', '.join(hidden)}) do not fit into a ConfigMap: {_IMAGE}")
    files = {path.name: path.read_text() for path in paths if path.is_file() and path.suffix in _SUFFIXES}
    size = sum(len(text.encode()) for text in (*files.values(), *topology_binaries(place).values()))
    if size > FILES_MAX_BYTES:
        raise UserError(f"{place}: {size >> 10} KiB of files, a ConfigMap takes {FILES_MAX_BYTES >> 10} KiB: {_IMAGE}")
    if place.is_file() and place.name not in ("topology.yaml", "topology.yml", "topology.py"):
        files = {f"topology{place.suffix}": files[place.name]}
    return files


def topology_binaries(place: Path) -> dict[str, str]:
    """Modules of WebAssembly beside the topology, in base64, by name."""
    paths = sorted(place.glob(f"*{_BINARY}")) if place.is_dir() else []
    return {path.name: b64encode(path.read_bytes()).decode() for path in paths}


_IMAGE = "build an image with the topology in it, and set topology.path"
