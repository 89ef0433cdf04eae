"""Loads a topology from a folder (`topology.yaml`, or `topology.py` with `topology = …`) or from one such file."""

import runpy
import sys
from pathlib import Path

from streamflow.errors import Problem, TopologyError
from streamflow.topology.spec import TopologySpec
from streamflow.topology.yaml_file import read_topology


def load_topology(path: str | Path) -> TopologySpec:
    """TopologySpec of a folder or file. Raises TopologyError with every problem of it.

    With both files in a folder the YAML one is taken. Modules in the folder can be imported from then on.
    A Python file is code of the person who runs streamflow and is executed; what comes over HTTP is YAML only.
    """
    place = Path(path)
    if place.is_dir():
        for name in ("topology.yaml", "topology.yml", "topology.py"):
            if (place / name).is_file():
                return load_topology(place / name)
        raise TopologyError((Problem(str(path), "the folder has no topology", "add topology.yaml or topology.py"),))
    if not place.is_file():
        raise TopologyError((Problem(str(path), "there is no such file or folder", "give the folder of a topology"),))
    _make_importable(place.parent)
    return _run(place) if place.suffix == ".py" else read_topology(place)


def _make_importable(folder: Path) -> None:
    """Modules beside a topology may be named by its nodes (`call: module:Name`); installed ones go first."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.append(path)


def _run(path: Path) -> TopologySpec:
    try:
        found = runpy.run_path(str(path)).get("topology")
    except TopologyError:
        raise
    except Exception as error:
        what = f"the file fails: {type(error).__name__}: {error}"
        raise TopologyError((Problem(str(path), what, "run it with python to see where"),)) from error
    if not isinstance(found, TopologySpec):
        remedy = "end it with `topology = builder.build()`"
        raise TopologyError((Problem(str(path), "the file defines no `topology`", remedy),))
    return found
