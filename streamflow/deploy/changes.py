"""What an upgrade would change, object by object."""

import difflib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML


@dataclass(frozen=True)
class Change:
    """One object. what: added, removed or changed; lines: a unified diff of its YAML."""

    what: str
    name: str
    lines: tuple[str, ...]


def changes(before: str, after: str) -> list[Change]:
    """Between two manifests. Values of Secrets stand there as digests."""
    old, new = _objects(before), _objects(after)
    return list(_compared(old, new))


def _compared(old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        was, will = old.get(name, ""), new.get(name, "")
        if was != will:
            what = "added" if name not in old else "removed" if name not in new else "changed"
            found = difflib.unified_diff(was.splitlines(), will.splitlines(), "now", "then", lineterm="")
            yield Change(what, name, tuple(found))


def _objects(manifests: str) -> dict[str, str]:
    """YAML in one order of keys, by kind and name."""
    found = {}
    for each in YAML(typ="safe").load_all(manifests):
        if each:
            place = each.get("metadata", {})
            name = "/".join(part for part in (each["kind"], place.get("namespace", ""), place.get("name", "")) if part)
            found[name] = _text(_masked(each))
    return found


def _masked(each: dict[str, Any]) -> dict[str, Any]:
    if each["kind"] != "Secret":
        return each
    hidden = {
        field: {key: _digest(str(value)) for key, value in each[field].items()}
        for field in ("data", "stringData")
        if each.get(field)
    }
    return each | hidden


def _digest(value: str) -> str:
    return f"(secret, sha256 {hashlib.sha256(value.encode()).hexdigest()[:12]})"


def _text(document: dict[str, Any]) -> str:
    writer = YAML()
    writer.default_flow_style = False
    text = io.StringIO()
    writer.dump(_sorted(document), text)
    return text.getvalue()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value
