"""Runs Helm, which alone fills in its templates as Helm does, and keeps releases."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamflow.deploy.tool import Tool
from streamflow.errors import ExternalError, UserError

_TIME_OUT_S = 60
#: What Helm says of a release that there is not.
_NO_RELEASE = "release: not found"


class HelmFailed(ExternalError):
    """Helm refused; the message is what it said."""


class HelmMissing(UserError):
    """There is no Helm."""


def find_chart() -> Path:
    """The chart beside the source of the product. Raises UserError when it is elsewhere."""
    chart = Path(__file__).parents[2] / "helm" / "streamflow"
    if not (chart / "Chart.yaml").is_file():
        raise UserError("there is no chart beside the installed streamflow: --chart helm/streamflow of its source")
    return chart


class Helm:
    """Helm on a namespace. command: its name or path. Methods raise HelmFailed with Helm's own words.

    Raises HelmMissing when there is no such command.
    """

    def __init__(self, namespace: str, command: str = "helm") -> None:
        found = shutil.which(command)
        if found is None:
            raise HelmMissing(f"{command} is not there: https://helm.sh/docs/intro/install/, or give --helm PATH")
        self._tool = Tool(found, namespace, HelmFailed)

    def render(self, release: str, chart: Path, values: Mapping[str, Any], files: Sequence[Path]) -> str:
        """Manifests of a release. files: further values, which win. Nothing is asked of a cluster."""
        return self._tool.run(["template", release, str(chart), *_values(files)], _TIME_OUT_S, json.dumps(values))

    def planned(self, release: str, chart: Path, values: Mapping[str, Any], files: Sequence[Path]) -> str:
        """Manifests that an upgrade would bring, as the cluster's API sees them; nothing is changed."""
        command = ["upgrade", "--install", release, str(chart), *_values(files), "--dry-run=server", "--output", "json"]
        found = json.loads(self._tool.run(command, _TIME_OUT_S, json.dumps(values)))
        return str(found["manifest"])

    def upgrade(
        self, release: str, chart: Path, values: Mapping[str, Any], files: Sequence[Path], wait_s: int, atomic: bool
    ) -> int:
        """Install or upgrade, wait until everything is ready (0: do not wait); the new revision.

        atomic: go back by itself when it fails.
        """
        command = ["upgrade", "--install", release, str(chart), *_values(files), "--output", "json"]
        command += [*_waiting(wait_s), *(["--atomic"] if atomic else [])]
        found = json.loads(self._tool.run(command, wait_s + _TIME_OUT_S, json.dumps(values)))
        return int(found["version"])

    def manifest(self, release: str) -> str:
        """Manifests of the release as it was applied last; empty when there is none."""
        try:
            return self._tool.run(["get", "manifest", release], _TIME_OUT_S)
        except HelmFailed as error:
            if _NO_RELEASE in str(error):
                return ""
            raise

    def history(self, release: str) -> list[dict[str, Any]]:
        """Revisions as Helm tells them (revision, status, description), oldest first; none without a release."""
        try:
            found: list[dict[str, Any]] = json.loads(
                self._tool.run(["history", release, "--output", "json"], _TIME_OUT_S)
            )
        except HelmFailed as error:
            if _NO_RELEASE in str(error):
                return []
            raise
        return found

    def rollback(self, release: str, revision: int, wait_s: int) -> None:
        """Go to a revision (0: the one before) and wait."""
        self._tool.run(["rollback", release, str(revision), *_waiting(wait_s)], wait_s + _TIME_OUT_S)


def _values(files: Sequence[Path]) -> list[str]:
    # The schema judges the merged values, so ours go first and on standard input: JSON is YAML.
    return ["--values", "-", *(part for file in files for part in ("--values", str(file)))]


def _waiting(wait_s: int) -> list[str]:
    return ["--wait", "--timeout", f"{wait_s}s"] if wait_s else []
