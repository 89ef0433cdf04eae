"""Kinds as plain data: metadata, JSON schema, and the form that a front end draws for a configuration."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from streamflow.nodes.dependent import Dependent
from streamflow.nodes.kind import Mode, NodeConfig, NodeKind
from streamflow.nodes.registry import KINDS


def listed() -> list[dict[str, Any]]:
    """Every kind in short, by name."""
    return [_metadata(KINDS[name]) for name in sorted(KINDS)]


def described(kind: NodeKind) -> dict[str, Any]:
    """A kind in full: metadata, an example, `schema` (JSON schema of its configuration) and `form`."""
    schema = kind.config_type.model_json_schema(by_alias=True)
    return _metadata(kind) | {"example": dict(kind.example), "schema": schema, "form": form(kind)}


def _metadata(kind: NodeKind) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "display_name": kind.display_name,
        "description": kind.description,
        "category": kind.category.value,
        "icon": kind.icon,
        "version": kind.version,
        "author": kind.author or ("streamflow" if KINDS.is_built_in(kind.kind) else ""),
        "tags": list(kind.tags),
        "modes": list(modes_of(kind)),
        "resources": asdict(kind.resources),
        "features": features_of(kind),
        "stateful": kind.stateful,
        "built_in": KINDS.is_built_in(kind.kind),
    }


def modes_of(kind: NodeKind) -> tuple[Mode, ...]:
    """Ways in which its nodes may run."""
    return kind.modes or (Mode.STREAMING if kind.stateful else Mode.SYNC,)


def features_of(kind: NodeKind) -> list[str]:
    """Options that switch something on around the node's own work: time-out, retry, breaker, cache and so on."""
    option = kind.config_type.model_fields.get("resilience")
    found = [] if option is None else [each for each in get_args(option.annotation) if isinstance(each, type)]
    models = [each for each in found if issubclass(each, NodeConfig)]
    return [f"resilience.{name}" for model in models for name in model.model_fields]


def form(kind: NodeKind) -> list[dict[str, Any]]:
    """Fields of a kind's form, in order.

    Each has name, type, label, help, placeholder (what the example says, else the default), required, and default,
    options, minimum and maximum where it has them. Types: text, number, checkbox, select, duration, date, list,
    mapping, and object (whose own fields are in the schema).

    A field with `depends_on` gets its options from what a running topology answers for the values of those fields;
    fields of type derived get their value so, stand behind the options, and are no part of the configuration.
    """
    schema = kind.config_type.model_json_schema(by_alias=True)
    required = schema.get("required", ())
    dependents = {each.name: each for each in kind.dependents}
    fields = []
    for name, option in schema.get("properties", {}).items():
        plain = _plain(option, schema.get("$defs", {}))
        shown = kind.example.get(name, option.get("default"))
        field = {
            "name": name,
            "type": _type(plain),
            "label": _label(name),
            "help": option.get("description") or plain.get("description", ""),
            "placeholder": _text(shown),
            "required": name in required,
        }
        if "default" in option:
            field["default"] = option["default"]
        if "enum" in plain:
            field["options"] = plain["enum"]
        if name in dependents:
            field["depends_on"] = list(dependents[name].depends_on)
            if field["type"] == "text":
                field["type"] = "select"
        fields.append(field | {key: plain[key] for key in ("minimum", "maximum") if key in plain})
    return fields + [_derived(each) for each in kind.dependents if each.derived]


def _derived(dependent: Dependent) -> dict[str, Any]:
    return {
        "name": dependent.name,
        "type": "derived",
        "label": _label(dependent.name),
        "help": dependent.help,
        "placeholder": "",
        "required": False,
        "depends_on": list(dependent.depends_on),
    }


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value that is there: without the null of an optional one, references followed."""
    while "$ref" in option:
        option = definitions[option["$ref"].rpartition("/")[2]]
    members = [each for each in option.get("anyOf", ()) if each.get("type") != "null"]
    return _plain(members[0], definitions) if len(members) == 1 else dict(option)


def _type(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return "select"
    if option.get("format") in ("duration", "date"):
        return str(option["format"])
    kinds = {option.get("type"), *(each.get("type") for each in option.get("anyOf", ()))} - {None}
    if kinds and kinds <= {"integer", "number"}:
        return "number"
    first = option.get("anyOf", ({},))[0]  # of a union its first form is drawn
    match option.get("type") or first.get("type"):
        case "boolean":
            return "checkbox"
        case "array":
            return "list"
        case "object":
            return "object" if "properties" in option else "mapping"
        case _:
            return "object" if "oneOf" in option else "text"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
