"""Rows as classes: a `Row` is at once the type that a checker knows and the schema that streamflow knows.

    class Reading(Row):            Reading: {time: timestamp, sensor: str, value: float?}
        time: Time
        sensor: str
        value: float | None = None

`list`, `dict` and `Any` are fields of type json.
"""

from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from streamflow.model.names import field_problem
from streamflow.model.schema import Field, FieldType, Schema


class Row(msgspec.Struct, gc=False):
    """Base of row classes. Without a place for the garbage collector: a row must not refer to itself."""


#: Milliseconds since the epoch, UTC.
Time = Annotated[int, "timestamp"]

_TYPES: dict[Any, FieldType] = {
    str: FieldType.STR,
    int: FieldType.INT,
    float: FieldType.FLOAT,
    bool: FieldType.BOOL,
    Time: FieldType.TIMESTAMP,
    Any: FieldType.JSON,
    list: FieldType.JSON,
    dict: FieldType.JSON,
}
_TESTS = {
    FieldType.STR: "{0}.__class__ is str",
    FieldType.INT: "({0}.__class__ is int and -0x8000000000000000 <= {0} <= 0x7fffffffffffffff)",
    # x - x is 0.0 for every float but infinity and not-a-number.
    FieldType.FLOAT: "({0}.__class__ is float and {0} - {0} == 0.0 or {0}.__class__ is int and -2**63 <= {0} < 2**63)",
    FieldType.BOOL: "{0}.__class__ is bool",
    FieldType.TIMESTAMP: "({0}.__class__ is int and -2**61 <= {0} <= 2**61)",
    FieldType.JSON: "is_json({0})",
}


@lru_cache(maxsize=1_000)
def schema_of(row_type: type[Row]) -> Schema:
    """Schema of a row class. Raises ValueError that says which field has no type of streamflow."""
    config, hints = row_type.__struct_config__, get_type_hints(row_type, include_extras=True)
    names = row_type.__struct_fields__
    renamed = row_type.__struct_encode_fields__ != names
    if config.tag is not None or config.array_like or config.omit_defaults or renamed:
        raise ValueError(f"row class {row_type.__name__} must not rename, tag or omit fields")
    if not names:
        raise ValueError(f"row class {row_type.__name__} has no fields")
    return Schema(row_type.__name__, tuple(_field(row_type, name, hints[name]) for name in names))


def _field(row_type: type[Row], name: str, hint: Any) -> Field:
    problem = field_problem(name)
    if problem is not None:
        raise ValueError(f"{row_type.__name__}.{name}: {problem}")
    nullable = False
    if get_origin(hint) in (Union, UnionType):
        kinds = [each for each in get_args(hint) if each is not NoneType]
        nullable = len(kinds) < len(get_args(hint))
        hint = kinds[0] if len(kinds) == 1 else hint
    kind = _TYPES.get(hint) or _TYPES.get(get_origin(hint))
    if kind is None:
        known = "str, int, float, bool, Time, list, dict or Any, and `| None`"
        raise ValueError(f"{row_type.__name__}.{name} is {hint}; a field is {known}")
    return Field(name, kind, nullable)


@lru_cache(maxsize=1_000)
def row_test(row_type: type[Row]) -> Callable[[Any], bool]:
    """Function that tells whether an object is a row of the class with values that fit its schema."""
    tests = ["r.__class__ is row_type"]
    for field in schema_of(row_type).fields:
        test = _TESTS[field.type].format(f"r.{field.name}")
        tests.append(f"(r.{field.name} is None or {test})" if field.nullable else test)
    names = {"row_type": row_type, "is_json": _is_json}
    test_row: Callable[[Any], bool] = eval(f"lambda r: {' and '.join(tests)}", names)  # noqa: S307 - our own templates
    return test_row


def _is_json(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def row_problem(row: Any, row_type: type[Row] | None) -> str:
    """What is wrong with a row that did not pass its test."""
    if row_type is None:
        return f"gave {row!r}, but no row class is declared: hint the result, `-> Iterator[MyRow]`"
    if row.__class__ is not row_type:
        return f"gave {row!r}, which is no {row_type.__name__}"
    for field in schema_of(row_type).fields:
        value = getattr(row, field.name)
        test = eval(f"lambda x: {_TESTS[field.type].format('x')}", {"is_json": _is_json})  # noqa: S307 - our own templates
        if not (test(value) or (value is None and field.nullable)):
            return f"gave a {row_type.__name__} whose {field.name} is {value!r}, which is no {field.type}"
    return f"gave {row!r}"
