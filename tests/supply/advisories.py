"""Locked packages against a folder of advisories in the OSV format, such as a clone of pypa/advisory-database."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from ruamel.yaml import YAML

_MODIFIED = re.compile(r"^modified: '?\"?(\d{4}-\d\d-\d\d)", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Finding:
    """A locked package with a known hole."""

    package: str
    version: str
    advisory: str


def locked(path: Path) -> list[tuple[str, str]]:
    """Names and versions of a lock file as uv writes it; one may have a version per Python."""
    lines = path.read_text().splitlines()
    pins = (line.split(";")[0].strip(" \\").split("==") for line in lines if "==" in line and line[:1] not in " #")
    return [(canonicalize_name(name), version.strip()) for name, version in pins]


def findings(packages: list[tuple[str, str]], folder: Path) -> list[Finding]:
    """What is known of them."""
    found: set[Finding] = set()
    versions: dict[str, list[str]] = {}
    for name, version in packages:
        versions.setdefault(name, []).append(version)
    for advisory in _advisories(folder, versions):
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", []):
            name = canonicalize_name(affected["package"]["name"])
            if affected["package"]["ecosystem"] == "PyPI":
                hit = (version for version in versions.get(name, ()) if _is_affected(affected, version))
                found.update(Finding(name, version, advisory["id"]) for version in hit)
    return sorted(found)


def newest(folder: Path) -> date:
    """Day of the newest advisory. Raises ValueError when the folder has none at all."""
    days = [day for path in folder.rglob("PYSEC-*.yaml") for day in _MODIFIED.findall(path.read_text())]
    if not days:
        raise ValueError(f"{folder} has no advisories: it must be a clone of pypa/advisory-database")
    return date.fromisoformat(max(days))


def _advisories(folder: Path, names: Collection[str]) -> Iterator[dict[str, Any]]:
    """Advisories of packages; each has a folder by its name."""
    yaml = YAML(typ="safe")
    for path in sorted(folder.rglob("PYSEC-*.yaml")):
        if canonicalize_name(path.parent.name) in names:
            yield yaml.load(path.read_text())


def _is_affected(affected: dict[str, Any], text: str) -> bool:
    if text in affected.get("versions", ()):
        return True
    version, inside = Version(text), False
    for span in affected.get("ranges", ()):
        if span["type"] != "ECOSYSTEM":
            continue
        for event in sorted(span["events"], key=_place):
            if "introduced" in event and _version(event["introduced"]) <= version:
                inside = True
            if "fixed" in event and _version(event["fixed"]) <= version:
                inside = False
            if "last_affected" in event and _version(event["last_affected"]) < version:
                inside = False
        if inside:
            return True
    return False


def _place(event: dict[str, str]) -> Version:
    return _version(next(iter(event.values())))


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:  # some old advisories: as if from the beginning on
        return Version("0")
