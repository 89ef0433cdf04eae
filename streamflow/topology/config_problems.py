"""pydantic's validation errors as problems with a place and a remedy."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from streamflow.errors import Problem
from streamflow.nodes.kind import NodeConfig
from streamflow.nodes.source import SourceConfig

_MARKERS = ("[key]", "int", "float")
_SHAPES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
}


def problems_of(error: ValidationError, place: str, model: type[BaseModel]) -> list[Problem]:
    """One problem per path under `place` ("" for the top of the file)."""
    problems: dict[str, Problem] = {}
    for each in error.errors(include_url=False):
        # pydantic marks errors of a key itself, and which member of a union was tried.
        loc = tuple(step for step in each["loc"] if step not in _MARKERS)
        path = ".".join([*([place] if place else []), *map(str, loc)]) or "topology"
        options = _options(model, loc[:-1])
        last = str(loc[-1]) if loc else ""
        match each["type"]:
            case "extra_forbidden":
                problems[path] = Problem(path, "unknown key", _near(last, options))
            case "missing":
                about = options[last].description if last in options else None
                problems[path] = Problem(path, "is missing", f"add `{last}: …`" + (f", {about}" if about else ""))
            case "value_error":
                # Raised by a validator of ours, which says what to write.
                problems[path] = Problem(path, each["msg"].removeprefix("Value error, "))
            case "too_long":
                problems[path] = Problem(
                    path, f"has more than {each['ctx']['max_length']} entries", "split the topology"
                )
            case _:
                said = _SHAPES.get(each["type"]) or f"{each['msg'][:1].lower()}{each['msg'][1:]}"
                message = f"{said}, not {_shown(each['input'])}"
                problems[path] = Problem(path, message, _about(last, options))
    return list(problems.values())


def _options(model: type[BaseModel], path: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """Keys of the model at a path below `model`; none where it is no model. Every node also has its inputs."""
    options = {info.alias or name: info for name, info in model.model_fields.items()}
    if issubclass(model, NodeConfig) and model is not SourceConfig and not path:
        options |= {"input": FieldInfo(), "inputs": FieldInfo()}
    for step in path:
        inner = options[str(step)].annotation if str(step) in options else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return {}
        options = {info.alias or name: info for name, info in inner.model_fields.items()}
    return options


def _near(name: str, options: dict[str, FieldInfo]) -> str:
    near = get_close_matches(name, options, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"keys are {', '.join(sorted(options))}" if options else "remove it, there are no keys"


def _about(name: str, options: dict[str, FieldInfo]) -> str:
    about = options[name].description if name in options else None
    return f"{name}: {about}" if about else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
