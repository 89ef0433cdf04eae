"""Runs Helm, which alone fills in its templates as Helm does."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamflow.errors import ExternalError, UserError

_TIME_OUT_S = 60


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


def render(
    release: str, namespace: str, chart: Path, values: Mapping[str, Any], files: Sequence[Path], helm: str = "helm"
) -> str:
    """Manifests of a release. files: further values, which win. Raises HelmMissing, HelmFailed.

    helm: command or path. Nothing is asked of a cluster.
    """
    found = shutil.which(helm)
    if found is None:
        raise HelmMissing(f"{helm} is not there: https://helm.sh/docs/intro/install/, or give --helm PATH")
    # The schema judges the merged values, so ours go first and on standard input: JSON is YAML.
    command = [found, "template", release, str(chart), "--namespace", namespace, "--values", "-"]
    for file in files:
        command += ["--values", str(file)]
    try:
        done = subprocess.run(  # noqa: S603 - found above, arguments are ours
            command, input=json.dumps(values), capture_output=True, text=True, timeout=_TIME_OUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HelmFailed(f"{helm} did not answer within {_TIME_OUT_S} s") from error
    if done.returncode:
        raise HelmFailed(done.stderr.strip())
    return done.stdout
