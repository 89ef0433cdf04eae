"""From a document (what YAML gives) to a TopologySpec, with every problem at once: its shape's and its meaning's."""

from typing import Any

from pydantic import ValidationError

from streamflow.errors import Problem, TopologyError
from streamflow.model.names import capability_problem
from streamflow.nodes.versions import migrated
from streamflow.topology.config_problems import problems_of
from streamflow.topology.resolve import resolve
from streamflow.topology.spec import NODES_MAX, NodeSpec, TopologySpec

#: Stands for a kind that was not written; its problem has been told.
_NO_KIND = "?"
_OF_ALL_KINDS = ("kind", "input", "inputs", "requires")


def spec_of(document: Any) -> TopologySpec:
    """TopologySpec of a document. Raises TopologyError listing everything that is wrong with it."""
    if not isinstance(document, dict):
        raise TopologyError((Problem("topology", "the file holds no topology", "begin with `topology: name`"),))
    problems: list[Problem] = []
    nodes = _nodes(document.get("nodes"), problems)
    body = {str(key): value for key, value in document.items() if key != "nodes"} | {"nodes": nodes}
    try:
        spec = TopologySpec(**body)
    except ValidationError as error:
        # A missing list of nodes has been told better.
        problems += [each for each in problems_of(error, "", TopologySpec) if nodes or each.place != "nodes"]
        spec = _remainder(body, error)
    told = {each.place for each in problems}
    problems += [each for each in resolve(spec).problems if not _is_told(each, told)]
    if problems:
        raise TopologyError(tuple(problems))
    return spec


def _remainder(body: dict[str, Any], error: ValidationError) -> TopologySpec:
    """What is well formed of a document that is not, so that the rest can be checked in the same run."""
    wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
    sound = {key: value for key, value in body.items() if key not in wrong}
    schemas = body.get("schemas")
    sound["schemas"] = {
        str(name): {str(field): str(kind) for field, kind in fields.items()} if isinstance(fields, dict) else {}
        for name, fields in (schemas.items() if isinstance(schemas, dict) else ())
    }
    return TopologySpec.model_construct(**{"topology": "unnamed", **sound, "nodes": body["nodes"][:NODES_MAX]})


def _is_told(problem: Problem, told: set[str]) -> bool:
    """Whether this place, or something in it, has been told already: then it only follows from that."""
    return any(place == problem.place or place.startswith(f"{problem.place}.") for place in told)


def _nodes(document: Any, problems: list[Problem]) -> tuple[NodeSpec, ...]:
    if not isinstance(document, dict) or not document:
        problems.append(Problem("nodes", "must be a mapping of name to node", "nodes: {name: {kind: source, …}}"))
        return ()
    found: list[NodeSpec] = []
    for name, body in document.items():
        place = f"nodes.{name}"
        if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
            problems.append(Problem(f"{place}.kind", "a node needs a kind", f"{name}: {{kind: filter, …}}"))
            body = {**body, "kind": _NO_KIND} if isinstance(body, dict) else {"kind": _NO_KIND, "inputs": []}
        config = {str(key): value for key, value in body.items() if key not in _OF_ALL_KINDS}
        kind, config, problem = migrated(body["kind"], config)
        if problem is not None:
            problems.append(Problem(f"{place}.kind", *problem))
        inputs, requires = _inputs(place, body, problems), _requires(place, body, problems)
        found.append(NodeSpec(name=str(name), kind=kind, inputs=inputs, config=config, requires=requires))
    return tuple(found)


def _requires(place: str, body: dict[str, Any], problems: list[Problem]) -> tuple[str, ...]:
    """What a node requires of workers, one name or a list of them."""
    given = body.get("requires", [])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        problems.append(Problem(f"{place}.requires", "must be a list of names", "requires: [gpu]"))
        return ()
    if names and body["kind"] == "global_table":
        problems.append(Problem(f"{place}.requires", "every worker reads global tables", "leave it out"))
    wrong = [problem for problem in map(capability_problem, names) if problem is not None]
    problems += [Problem(f"{place}.requires", each, "as in requires: [gpu]") for each in wrong]
    return tuple(dict.fromkeys(names))


def _inputs(place: str, body: dict[str, Any], problems: list[Problem]) -> tuple[str, ...]:
    one, many = body.get("input"), body.get("inputs")
    if one is not None and many is not None:
        problems.append(Problem(place, "input and inputs exclude each other", "use inputs with all names"))
    if one is not None and not isinstance(one, str):
        problems.append(Problem(f"{place}.input", "must be the name of a node", "several go into inputs: [a, b]"))
        return ()
    if many is None:
        return () if one is None else (one,)
    if not isinstance(many, list) or not all(isinstance(each, str) for each in many):
        problems.append(Problem(f"{place}.inputs", "must be a list of node names", "inputs: [a, b]"))
        return ()
    return tuple(many)
