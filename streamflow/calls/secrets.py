"""Secrets by reference: `Bearer ${secret:weather}`. The text of a secret is in no topology, plan, log or dead letter.

`weather` is the file of that name in the worker's folder of secrets, or the variable STREAMFLOW_SECRET_WEATHER.
"""

import re

from streamflow.calls.caller import Outside
from streamflow.errors import Problem, TopologyError

_REFERENCE = re.compile(r"\$\{secret:([a-z0-9_-]{1,64})\}")
_VARIABLE = "STREAMFLOW_SECRET_"


def refers_to_secret(text: str) -> bool:
    """Whether a text takes its secret part from elsewhere."""
    return _REFERENCE.search(text) is not None


def with_secrets(text: str, outside: Outside, place: str) -> str:
    """The text with every secret in it. Raises TopologyError when there is none of a name, or it does not fit."""

    def resolve(match: re.Match[str]) -> str:
        found = _secret(match.group(1), outside)
        if found is None:
            variable = f"{_VARIABLE}{match.group(1).upper().replace('-', '_')}"
            remedy = f"set {variable}, or put a file of this name into STREAMFLOW_SECRETS_DIR"
            raise TopologyError((Problem(place, f"there is no secret {match.group(1)!r} on this worker", remedy),))
        if not found.isprintable():
            raise TopologyError((Problem(place, f"the secret {match.group(1)!r} has control characters in it"),))
        return found

    return _REFERENCE.sub(resolve, text)


def _secret(name: str, outside: Outside) -> str | None:
    if outside.secrets is not None:
        path = outside.secrets / name
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    return outside.environment.get(_VARIABLE + name.upper().replace("-", "_"))
