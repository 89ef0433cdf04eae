"""Parameters that take their value from the event: `factor: "{customer.factor}"`, or `"{customer.factor|1.5}"`.

    {field}                 a numeric field
    {field.member.0}        inside of a json field; the event becomes a dead letter (`unresolved`) when there is none
    {field|1.5}             what stands for a missing one

It is compiled to a checked expression when the topology is read; what it finds is a number, and never code.
"""

import re
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from streamflow.model.schema import FieldType
from streamflow.nodes.kind import Lowering

_LOOKUP = re.compile(r"\{\s*([A-Za-z_]\w*)((?:\.[A-Za-z0-9_-]+)*)\s*(?:\|\s*(-?\d+(?:\.\d+)?)\s*)?\}")


def _checked(value: Any) -> Any:
    if isinstance(value, str) and _LOOKUP.fullmatch(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number and no look-up: write 2.5, {{field}} or {{field.member|2.5}}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"must be a finite number, not {value!r}")
    return value


#: A number, or where to find it in the event.
NumberParameter = Annotated[
    int | float | str,
    BeforeValidator(_checked),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "examples": ["{customer.limit|10}"]}]}),
]


def number_source(value: int | float | str, key: str, lowering: Lowering) -> str:
    """Source of the expression of a parameter, which is never null; "0" when a problem of `key` was reported."""
    match = _LOOKUP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return repr(value)
    name, path, default = match[1], match[2][1:], match[3]
    field = lowering.input.schema.field(name)
    if field is None:
        lowering.has_field(name, key)
    elif field.type is FieldType.JSON:
        if not path:
            lowering.problem(f"{name!r} is json", f"name a member: {{{name}.member}}", key)
        elif default is not None:
            return f"as_float(at_or({name}, {path!r}, {default}))"
        else:
            return f"as_float(at({name}, {path!r}))"
    elif path:
        lowering.problem(f"{name!r} is {field.type}, it has no members", f"write {{{name}}}", key)
    elif field.type not in (FieldType.INT, FieldType.FLOAT):
        lowering.problem(f"a number is needed, {name!r} is {field.type}", "cast it before", key)
    elif not field.nullable:
        return name
    elif default is None:
        lowering.problem(f"{name!r} may be null", f"say what stands for it: {{{name}|0}}", key)
    else:
        return f"coalesce({name}, {default})"
    return "0"
