"""Texts in one writing: what people type as ` John Doe ` and `JOHN DOE` becomes the same."""

from typing import Any

from streamflow.errors import EventError

#: Objects and lists within one another; what is deeper is no data of people.
_MAX_DEPTH = 64


def tidied(value: Any, depth: int = 0) -> Any:
    """Texts trimmed and in small letters, at any depth; keys of objects likewise, with `_` for their spaces.

    Numbers, truth values and null stay. Raises EventError for two keys that would become one, and beyond 64 levels.
    """
    if isinstance(value, str):
        return value.strip().lower()
    if depth > _MAX_DEPTH:
        raise EventError("expression", f"objects are deeper than {_MAX_DEPTH} levels")
    if isinstance(value, list):
        return [tidied(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = key.strip().lower().replace(" ", "_")
        if name in found:
            raise EventError("expression", f"two keys of an object become {name[:100]!r}")
        found[name] = tidied(each, depth + 1)
    return found
