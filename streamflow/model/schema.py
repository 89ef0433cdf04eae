"""Schemas: the typed fields of a row, and the struct classes that rows are.

Departure: {time: timestamp, carrier: str, dep_delay: float?}
type       JSON that is accepted                      in a row
str        string                                     str
int        integer of 64 bits                         int
float      number                                     float
bool       true, false                                bool
timestamp  epoch milliseconds, or ISO 8601 text       int, milliseconds since the epoch, UTC
json       anything                                   as decoded
…?         also null, or absent                       None
str of a|b one of these texts                         str; checked where rows come in
… secret   the same; masked by its name in everything that is said on the event bus
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

#: How the text of a field's type ends whose values are nobody's business.
MASKED_MARK = " secret"
_INT = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: Event times outside of this (some 73 million years) cannot be window borders of 64 bits.
_TIME = Annotated[int, msgspec.Meta(ge=-(2**61), le=2**61)]


class FieldType(StrEnum):
    """Type of a field, by the word a topology uses."""

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    JSON = "json"


_PYTHON_TYPES: dict[FieldType, Any] = {
    FieldType.STR: str,
    FieldType.INT: _INT,
    FieldType.FLOAT: float,
    FieldType.BOOL: bool,
    FieldType.TIMESTAMP: _TIME,
    FieldType.JSON: Any,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema. choices: of a text that comes in, those that it may be; any when there are none."""

    name: str
    type: FieldType
    nullable: bool = False
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.type}{'?' if self.nullable else ''}"


@dataclass(frozen=True)
class Schema:
    """Fields in order. Hashable; equal schemas share their struct classes."""

    name: str
    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    def field(self, name: str) -> Field | None:
        """Field by name, None when there is none."""
        return next((field for field in self.fields if field.name == name), None)

    def with_non_null(self, names: frozenset[str]) -> "Schema":
        """The same schema, with these fields known not to be null."""
        if not names:
            return self
        fields = (Field(f.name, f.type, f.nullable and f.name not in names, f.choices) for f in self.fields)
        return Schema(self.name, tuple(fields))

    @property
    def row_type(self) -> type[Any]:
        """Struct class of a row; fields by keyword, nullable ones default to None."""
        return _row_type(self, False, False, False)

    def struct_type(self, *, text_times: bool = False, reject_unknown: bool = False) -> type[Any]:
        """Struct class for what comes in; `text_times` leaves ISO texts in timestamp fields for a later conversion."""
        return _row_type(self, text_times, reject_unknown, True)

    @property
    def times(self) -> tuple[str, ...]:
        """Names of the timestamp fields."""
        return tuple(field.name for field in self.fields if field.type is FieldType.TIMESTAMP)


@lru_cache(maxsize=1_000)
def _row_type(schema: Schema, text_times: bool, reject_unknown: bool, chosen: bool) -> type[Any]:
    fields: list[Any] = []
    for field in schema.fields:
        kind = python_type(field, text_times=text_times, chosen=chosen)
        fields.append((field.name, kind, None) if field.nullable else (field.name, kind))
    return msgspec.defstruct(schema.name, fields, gc=False, kw_only=True, forbid_unknown_fields=reject_unknown)


def python_type(field: Field, *, text_times: bool = False, chosen: bool = False) -> Any:
    """Annotation that msgspec validates a field by. chosen: whether its choices are checked."""
    kind = _PYTHON_TYPES[field.type]
    if chosen and field.choices:
        kind = Literal[field.choices]
    if text_times and field.type is FieldType.TIMESTAMP:
        kind = _TIME | str
    return kind | None if field.nullable and kind is not Any else kind


def parse_fields(fields: Mapping[str, str]) -> tuple[tuple[Field, ...], list[tuple[str, str]]]:
    """Fields from the short form {name: "float?"}; problems as (field name, message)."""
    parsed: list[Field] = []
    problems: list[tuple[str, str]] = []
    for name, text in fields.items():
        shown, of, listed = text.removesuffix(MASKED_MARK).partition(" of ")
        word, choices = shown.removesuffix("?"), tuple(each.strip() for each in listed.split("|")) if of else ()
        if word not in set(FieldType):
            types = f"types are {', '.join(FieldType)}, with ? when it may be null"
            problems.append((name, f"unknown type {text!r}; {types}"))
        elif of and (word != FieldType.STR or not all(choices) or len(set(choices)) < len(choices)):
            problems.append((name, f"{text!r} lists no texts to choose from; write such as `str of open|closed`"))
        else:
            parsed.append(Field(name, FieldType(word), shown.endswith("?"), choices))
    return tuple(parsed), problems
