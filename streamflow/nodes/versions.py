"""Configurations of older versions: `kind: threshold@1` was written for version 1 of threshold, and is migrated.

Only the major version changes what a configuration means. Without one, the configuration is of the current version.
"""

from typing import Any

from streamflow.nodes.kind import NodeKind
from streamflow.nodes.registry import KINDS


def migrated(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
    """(kind without its version, configuration of the current version, what is wrong and how to mend it or None).

    An unknown kind is left as it is: somebody else tells.
    """
    name, at, written = kind.partition("@")
    if not at:
        return kind, config, None
    if not written.isdecimal() or written.startswith("0"):
        return name, config, (f"{written!r} is no version", f"write {name}, or {name}@1 for its version 1")
    known = KINDS.get(name)
    return (name, config, None) if known is None else (name, *_steps(known, int(written), config))


def _steps(kind: NodeKind, major: int, config: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, str] | None]:
    current = int(kind.version.partition(".")[0])
    if major > current:
        problem = (
            f"{kind.kind} has version {kind.version}, {major} is not known",
            "install a newer package, or correct it",
        )
        return config, problem
    for step in range(major, current):
        if step not in kind.migrations:
            problem = (
                f"{kind.kind} cannot read configurations of version {step} any more",
                f"write {kind.kind}@{current}",
            )
            return config, problem
        try:
            config = kind.migrations[step](dict(config))
        except (KeyError, TypeError, ValueError) as error:
            problem = (
                f"cannot be brought from version {step} to {step + 1}: {type(error).__name__}: {error}",
                "correct it",
            )
            return config, problem
    return config, None
