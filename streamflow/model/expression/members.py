"""Values inside of JSON, by a path: `at(customer, 'address.city')`, `at(items, '0.price')`.

at(json, path)               the value; the event becomes a dead letter (`unresolved`) when there is none
at_or(json, path, default)   the default where there is none
try_at(json, path)           null where there is none

A path has names of members and places in lists, nothing else; what it finds is data, and is never read as a path or an
expression. Null counts as no value.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from streamflow.errors import EventError


def member(value: Any, names: Iterable[str]) -> Any:
    """What is at a path of names inside of JSON; None when there is nothing."""
    for name in names:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


@lru_cache(maxsize=10_000)
def _names(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def try_at(value: Any, path: str) -> Any:
    """The value, None when there is none."""
    return member(value, _names(path))


def at(value: Any, path: str) -> Any:
    """The value. Raises EventError (`unresolved`)."""
    found = member(value, _names(path))
    if found is None:
        raise EventError("unresolved", f"there is no {path} in this event")
    return found


def at_or(value: Any, path: str, default: Any) -> Any:
    """The value, or the default when there is none."""
    found = member(value, _names(path))
    return default if found is None else found
