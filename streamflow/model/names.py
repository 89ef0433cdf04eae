"""Names that may be used. Each check returns a problem with its remedy, or None; and names that may have been meant."""

import keyword
import re
from collections.abc import Collection
from difflib import get_close_matches

_TOPIC = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,199}")
_NODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CAPABILITY = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


def topic_problem(name: str) -> str | None:
    """Topics: as Kafka allows, beginning with a letter."""
    if _TOPIC.fullmatch(name):
        return None
    return f"topic name {name!r} is not allowed: a letter, then up to 199 letters, digits, dots, dashes or underscores"


def node_problem(name: str) -> str | None:
    """Nodes, tables and topologies: they become part of topic names, metrics and folders."""
    if _NODE.fullmatch(name):
        return None
    return f"name {name!r} is not allowed: a small letter, then up to 63 small letters, digits or underscores"


def field_problem(name: str) -> str | None:
    """Fields: they become attributes of structs and names in expressions."""
    if keyword.iskeyword(name) or name in ("None", "True", "False"):
        return f"field name {name!r} is a word of the expression language: choose another one"
    if _FIELD.fullmatch(name) and not name.startswith("_"):
        return None
    return f"field name {name!r} is not allowed: a letter, then up to 127 letters, digits or underscores"


def capability_problem(name: str) -> str | None:
    """Why something cannot be the name of a capability of workers, None when it can."""
    if _CAPABILITY.fullmatch(name):
        return None
    return f"{name!r} cannot name what workers have: small letters and digits, with dots, - and _ between, at most 63"


def near_name(name: str, names: Collection[str], there_are: str) -> str:
    """The remedy for an unknown name: the one of `names` that is like it, else all of them."""
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"{there_are} {', '.join(names) or 'none'}"
