"""Secrets never reach the bus: fields whose names say that they hold one are masked, at any depth."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|private[_-]?key|authorization|credential|cookie", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET.search(name) is not None


def masked(data: Mapping[str, Any], secret_fields: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The data with `***` for what is secret by its name, or because a schema marks the field."""
    return {
        name: MASK if name in secret_fields or is_secret(name) else _inside(value, secret_fields)
        for name, value in data.items()
    }


def _inside(value: Any, secret_fields: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return masked(value, secret_fields)
    if isinstance(value, list | tuple):
        return [_inside(each, secret_fields) for each in value]
    return value
