"""From a document (what YAML gives) to a TopologySpec, with every problem of its shape at once."""

from typing import Any

from pydantic import ValidationError

from streamflow.errors import Problem, TopologyError
from streamflow.topology.spec import NodeSpec, TopologySpec


def spec_of(document: Any) -> TopologySpec:
    """TopologySpec of a document. Raises TopologyError listing everything that has the wrong shape."""
    if not isinstance(document, dict):
        raise TopologyError((Problem("topology", "the file holds no topology", "begin with `topology: name`"),))
    problems: list[Problem] = []
    nodes = _nodes(document.get("nodes"), problems)
    body = {key: value for key, value in document.items() if key != "nodes"}
    try:
        spec = TopologySpec(**body, nodes=nodes)
    except ValidationError as error:
        problems += problems_of(error, "")
        raise TopologyError(tuple(problems)) from error
    except TypeError as error:
        raise TopologyError((*problems, Problem("topology", str(error), "keys are text"))) from error
    if problems:
        raise TopologyError(tuple(problems))
    return spec


def _nodes(document: Any, problems: list[Problem]) -> tuple[NodeSpec, ...]:
    if not isinstance(document, dict):
        problems.append(Problem("nodes", "must be a mapping of name to node", "nodes: {name: {kind: source, …}}"))
        return ()
    found: list[NodeSpec] = []
    for name, body in document.items():
        place = f"nodes.{name}"
        if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
            problems.append(Problem(place, "a node needs a kind", f"{name}: {{kind: filter, …}}"))
            continue
        config = {str(key): value for key, value in body.items() if key not in ("kind", "input", "inputs")}
        found.append(NodeSpec(name=str(name), kind=body["kind"], inputs=_inputs(place, body, problems), config=config))
    return tuple(found)


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


def problems_of(error: ValidationError, place: str) -> list[Problem]:
    """pydantic's errors as problems, each at its path under `place`."""
    problems = []
    for each in error.errors(include_url=False):
        path = ".".join([place, *map(str, each["loc"])]) if place else ".".join(map(str, each["loc"])) or "topology"
        if each["type"] == "extra_forbidden":
            problems.append(Problem(path, "unknown key", "remove it or mend its spelling"))
        else:
            problems.append(Problem(path, each["msg"][:1].lower() + each["msg"][1:]))
    return problems
