"""pydantic's validation errors as problems with a place and a remedy."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from streamflow.errors import Problem
from streamflow.model.names import near_name
from streamflow.nodes.global_table import GlobalTableConfig
from streamflow.nodes.kind import NodeConfig
from streamflow.nodes.source import SourceConfig

_MARKERS = ("[key]", "int", "float")
_WITHOUT_INPUT = (SourceConfig, GlobalTableConfig)
_SHAPES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "must not be empty",
}


def problems_of(error: ValidationError, place: str, model: type[BaseModel]) -> list[Problem]:
    """One problem per path under `place` ("" for the top of the file)."""
    problems: dict[str, Problem] = {}
    for each in error.errors(include_url=False):
        # pydantic marks errors of a key itself, and which member of a union was tried.
        loc = tuple(step for step in each["loc"] if step not in _MARKERS)
        options, loc = _options(model, loc)
        path = ".".join([*([place] if place else []), *map(str, loc)]) or "topology"
        last = str(loc[-1]) if loc else ""
        match each["type"]:
            case "extra_forbidden":
                problems[path] = Problem(path, "unknown key", _near(last, options))
            case "missing":
                about = options[last].description if last in options else None
                problems[path] = Problem(path, "is missing", f"add `{last}: …`" + (f", {about}" if about else ""))
            case "union_tag_invalid":
                tag, tags = each["ctx"]["tag"], each["ctx"]["expected_tags"].replace("'", "").split(", ")
                remedy = near_name(tag, tags, "there are")
                problems[path] = Problem(f"{path}.type", f"unknown type {tag!r}", remedy)
            case "union_tag_not_found":
                problems[path] = Problem(f"{path}.type", "is missing", "add `type: …`")
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


def _options(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[dict[str, FieldInfo], tuple[int | str, ...]]:
    """Keys of the model around the last step of a path, and the path without the tags of unions in it.

    No keys where it is no model. Every node but those that read a topic also has its inputs.
    """
    options = _keys(model)
    if issubclass(model, NodeConfig) and model not in _WITHOUT_INPUT and len(path) <= 1:
        options |= {"input": FieldInfo(), "inputs": FieldInfo()}
    steps, plain = list(path), list(path[:1])
    for number, step in enumerate(steps[:-1]):
        info = options.get(str(step))
        member = _member(info, steps[number + 1]) if info is not None else None
        if member is not None:
            options = {str(steps[number + 1]): FieldInfo(annotation=member)}
            continue  # the tag is no key of the file
        inner = _model(info.annotation) if info is not None else None
        options = _keys(inner) if inner is not None else {}
        plain.append(steps[number + 1])
    return options, tuple(plain)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model of an annotation, also of `Model | None`."""
    found = (each for each in (annotation, *get_args(annotation)) if isinstance(each, type))
    return next((each for each in found if issubclass(each, BaseModel)), None)


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _member(info: FieldInfo, tag: int | str) -> type[BaseModel] | None:
    """The member of a tagged union that has this tag; None when the field is none."""
    for member in get_args(info.annotation) if info.discriminator == "type" else ():
        if tag in get_args(member.model_fields["type"].annotation):
            found: type[BaseModel] = member
            return found
    return None


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
