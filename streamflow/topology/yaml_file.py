"""Reads a topology from YAML 1.2: data only, no tags, no aliases, no key twice, at most 256 KiB.

YAML 1.1 readers refuse `dep_delay: float?` inside braces, and take `on` for true; hence ruamel.yaml.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from streamflow.errors import Problem, TopologyError
from streamflow.topology.document import spec_of
from streamflow.topology.spec import TopologySpec

FILE_MAX_BYTES = 256 << 10
DEPTH_MAX = 20
_SYNTAX_REMEDY = "quote text that holds , : # or brackets, such as an expression inside braces"
Made = TypeVar("Made")
_TAG_REMEDY = "plain data only: no tags"


def read_topology(path: Path) -> TopologySpec:
    """TopologySpec of a YAML file. Raises TopologyError."""
    return parse_topology(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Text of a file, one byte more than is allowed at most. Raises TopologyError."""
    try:
        # One byte more than allowed is enough to know that there is too much.
        with path.open("rb") as file:
            return file.read(FILE_MAX_BYTES + 1).decode()
    except UnicodeDecodeError as error:
        raise TopologyError((Problem(str(path), f"is not UTF-8: {error}", "save it as UTF-8"),)) from error
    except OSError as error:
        raise TopologyError((Problem(str(path), f"cannot be read: {error.strerror}"),)) from error


def parse_topology(text: str, place: str = "topology") -> TopologySpec:
    """TopologySpec of YAML text. `place` names the text. Raises TopologyError with every problem and its line."""
    return parse_document(text, place, spec_of)


def parse_document(text: str, place: str, made_of: Callable[[Any], Made]) -> Made:
    """What `made_of` makes of YAML text. Raises TopologyError with every problem of both, and its line."""
    if len(text.encode()) > FILE_MAX_BYTES:
        raise TopologyError((Problem(place, f"is larger than {FILE_MAX_BYTES} bytes", "split it"),))
    document, lines = _Document(), _Lines()
    document.read(text, place)
    lines.walk(document.tree)
    try:
        made = made_of(document.value)
    except TopologyError as error:
        problems = [*lines.problems, *(lines.located(each) for each in error.problems)]
        raise TopologyError(tuple(sorted(problems, key=lambda each: each.line or 0))) from error
    if lines.problems:
        raise TopologyError(tuple(lines.problems))
    return made


class _Document:
    """The text as plain data (`value`) and as nodes that know their lines (`tree`)."""

    def __init__(self) -> None:
        self.value: Any = None
        self.tree: Node | None = None

    def read(self, text: str, place: str) -> None:
        try:
            _refuse_growth(text, place)
            loader = YAML(typ="safe", pure=True)
            loader.allow_duplicate_keys = True  # told by _Lines, all of them and with their places
            self.tree = loader.compose(text)
            self.value = None if self.tree is None else loader.constructor.construct_document(self.tree)
        except MarkedYAMLError as error:
            mark = error.problem_mark
            line = mark.line + 1 if mark is not None else None
            remedy = _TAG_REMEDY if isinstance(error, ConstructorError) else _SYNTAX_REMEDY
            raise TopologyError((Problem(place, f"is not YAML: {error.problem}", remedy, line),)) from error
        except (YAMLError, RecursionError, ValueError) as error:
            raise TopologyError((Problem(place, f"is not YAML: {error}"),)) from error


def _refuse_growth(text: str, place: str) -> None:
    """Aliases make a small file large and nesting makes a reader slow: both are refused before anything is built."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            raise TopologyError((Problem(place, "YAML aliases are not allowed", "write it out", line),))
        if depth > DEPTH_MAX:
            raise TopologyError((Problem(place, f"is nested deeper than {DEPTH_MAX} levels", "flatten it", line),))


class _Lines:
    """Lines by path (`nodes.flown.where`), and keys that are written twice."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._lines: dict[str, int] = {}

    def walk(self, node: Node | None, path: str = "") -> None:
        """Remember the line of everything below `node`."""
        if isinstance(node, SequenceNode):
            for index, each in enumerate(node.value):
                self._enter(f"{path}.{index}", each, each)
        if not isinstance(node, MappingNode):
            return
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            if name in seen:
                line = key.start_mark.line + 1
                self.problems.append(Problem(inner, "the key is written twice", "remove or rename one", line))
            seen.add(name)
            self._enter(inner, key, value)

    def _enter(self, path: str, at: Node, value: Node) -> None:
        self._lines[path] = at.start_mark.line + 1
        self.walk(value, path)

    def located(self, problem: Problem) -> Problem:
        """The problem with the line of its place, or of the nearest thing around it."""
        steps = problem.place.split(".")
        for length in range(len(steps), 0, -1):
            line = self._lines.get(".".join(steps[:length]))
            if line is not None:
                return replace(problem, line=line)
        return problem
