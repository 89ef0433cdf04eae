"""Reads a topology from YAML 1.2: data only, no tags, no aliases, no key twice, at most 256 KiB.

YAML 1.1 readers refuse `dep_delay: float?` inside braces, and take `on` for true; hence ruamel.yaml.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from streamflow.errors import Problem, TopologyError
from streamflow.topology.document import spec_of
from streamflow.topology.spec import TopologySpec

FILE_MAX_BYTES = 256 << 10


def parse_topology(text: str, place: str = "topology") -> TopologySpec:
    """TopologySpec of YAML text. Raises TopologyError with every problem of its shape."""
    if len(text.encode()) > FILE_MAX_BYTES:
        raise TopologyError((Problem(place, f"the file is larger than {FILE_MAX_BYTES} bytes", "split the topology"),))
    return spec_of(_document(text, place))


def _document(text: str, place: str) -> Any:
    try:
        # Aliases could make a small file grow without bound, so they are refused before anything is built.
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                line = f"{place} line {event.start_mark.line + 1}"
                raise TopologyError((Problem(line, "YAML aliases are not allowed", "write it out"),))
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise TopologyError((Problem(f"{place}{line}", f"is not YAML: {error.problem}"),)) from error
    except (YAMLError, RecursionError, ValueError) as error:
        raise TopologyError((Problem(place, f"is not YAML: {error}"),)) from error


def read_topology(path: Path) -> TopologySpec:
    """TopologySpec of a YAML file."""
    return parse_topology(path.read_text(), str(path))
