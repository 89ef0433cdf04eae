"""Texts with look-ups into the row, compiled when the topology is read: `/v1/customers/{customer.id}/orders`.

    {field}            value of a field             {field.name.0}     inside of a json field: member, place in a list
    {field|unknown}    what stands for a missing one                    {{ and }} are braces

A look-up reads fields of the schema and members of JSON values, nothing else; what it finds is text and is never read
as a template again. A missing value without a default is the row's fault (`unresolved`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamflow.errors import CallFailed, ErrorClass
from streamflow.model.expression.members import member
from streamflow.model.schema import FieldType, Schema

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A path into a row. default: stands for a missing value; None: a missing one is an error."""

    path: tuple[str, ...]
    default: str | None = None

    def value(self, row: Any) -> Any:
        """What is there. Raises CallFailed (`unresolved`)."""
        found = member(getattr(row, self.path[0]), self.path[1:])
        if found is None:
            if self.default is None:
                raise CallFailed("unresolved", f"{'.'.join(self.path)} has no value in this row", ErrorClass.USER)
            return self.default
        return found

    def text(self, row: Any) -> str:
        """The value as text; booleans as JSON writes them. Raises CallFailed for an object or a list."""
        value = self.value(row)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, dict | list):
            raise CallFailed("unresolved", f"{'.'.join(self.path)} is no single value in this row", ErrorClass.USER)
        return str(value)


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and look-ups in their order."""

    parts: tuple[str | Lookup, ...]

    @property
    def is_literal(self) -> bool:
        """Whether it is the same for every row."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def only(self) -> Lookup | None:
        """The look-up that it consists of alone, so that its value keeps its type."""
        (first, *rest) = self.parts or ("",)
        return first if isinstance(first, Lookup) and not rest else None

    def text(self, row: Any, quoted: Callable[[str], str] = lambda text: text) -> str:
        """The text for a row; `quoted` is applied to what was looked up. Raises CallFailed (`unresolved`)."""
        return "".join(part if isinstance(part, str) else quoted(part.text(row)) for part in self.parts)


def compile_template(source: str, schema: Schema) -> Template:
    """The template of a text over rows of a schema. Raises ValueError that says what is wrong."""
    parts: list[str | Lookup] = []
    end = 0
    for match in _PART.finditer(source):
        parts.append(source[end : match.start()])
        end = match.end()
        found = match.group()
        if found in ("{{", "}}"):
            parts.append(found[0])
        elif match.group(1) is None:
            raise ValueError(f"a brace is alone in {source!r}; write {{{{ or }}}} for a brace")
        else:
            parts.append(_lookup(match.group(1), schema))
    parts.append(source[end:])
    return Template(tuple(_joined(parts)))


def _joined(parts: list[str | Lookup]) -> list[str | Lookup]:
    """Texts that follow each other as one, without empty ones."""
    found: list[str | Lookup] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        elif part != "":
            found.append(part)
    return found


def _lookup(text: str, schema: Schema) -> Lookup:
    path, bar, default = text.partition("|")
    names = tuple(path.strip().split("."))
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"{{{text}}} is no path: write {{field}} or {{field.member}}")
    field = schema.field(names[0])
    if field is None:
        raise ValueError(f"unknown field {names[0]!r} in {{{text}}}; fields are {', '.join(schema.names)}")
    if len(names) > 1 and field.type is not FieldType.JSON:
        raise ValueError(f"{names[0]!r} is {field.type}, it has no members: {{{text}}}")
    return Lookup(names, default if bar else None)
