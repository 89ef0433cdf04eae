"""The `call` of a node: a person's code, found and compared with what comes in."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from streamflow.kit.declaration import Declaration, NotDeclared, find
from streamflow.kit.rows import Row, schema_of
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Lowering


def _is_call(value: Any) -> Any:
    if isinstance(value, str) or callable(value):
        return value
    raise ValueError(f"{value!r} is no import path; write package.module:Name")


#: An import path, `package.module:Name`; a Python topology may pass the class or function itself.
Call = Annotated[Any, AfterValidator(_is_call), WithJsonSchema({"type": "string", "examples": ["package.module:Name"]})]


def declared(call: Any, declare: Callable[[Any], Declaration], lowering: Lowering) -> Declaration | None:
    """Declaration of a call whose input class fits the input; None when problems were reported."""
    try:
        found = declare(find(call) if isinstance(call, str) else call)
    except NotDeclared as error:
        lowering.problem(str(error), error.remedy, "call")
        return None
    if found.input_type is not None:
        _compare(found.input_type, lowering)
    return None if lowering.failed else found


def _compare(wanted: type[Row], lowering: Lowering) -> None:
    """Every field of the input class must be there, of its type."""
    for field in schema_of(wanted).fields:
        given = lowering.input.schema.field(field.name)
        if given is None:
            lowering.has_field(field.name, "call")
        elif not _fits(given, field):
            remedy = "correct the hint, or the row with a map"
            if given.nullable and not field.nullable and given.type is field.type:
                remedy = f"hint `| None`, or put a filter before it: {field.name} is not None"
            message = f"{wanted.__name__} wants {field}, but its input has {given}"
            lowering.problem(message, remedy, "call")


def _fits(given: Field, wanted: Field) -> bool:
    same = given.type is wanted.type or wanted.type is FieldType.JSON
    return same and (wanted.nullable or not given.nullable or wanted.type is FieldType.JSON)


def output_schema(found: Declaration, name: str) -> Schema:
    """Schema of the rows that a call gives; without fields when it gives none."""
    if found.output_type is None:
        return Schema(f"{name.title().replace('_', '')}Nothing", ())
    return schema_of(found.output_type)
