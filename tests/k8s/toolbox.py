"""Helm and the control plane's programs: of `make k8s-tools`, else those on the path."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "streamflow"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
BUILT = Path(os.environ.get("STREAMFLOW_K8S_TOOLS", ROOT / ".streamflow" / "k8s"))


def tool(name: str) -> str:
    """Path of a program; skips the test, saying so, when it is missing."""
    found = shutil.which(name, path=os.pathsep.join((str(BUILT), os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if found is None:
        pytest.skip(f"THE CHART IS NOT TESTED: {name} is missing, `make k8s-tools` builds it (Go, ten minutes)")
    return found


def helm_template(values: Path, chart: Path = CHART, *options: str) -> subprocess.CompletedProcess[str]:
    """What Helm makes of the chart."""
    command = [tool("helm"), "template", "readings", str(chart), "--namespace", "streams", "-f", str(values), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def mutant(folder: Path, path: str, old: str, new: str) -> Path:
    """A copy of the chart with one text replaced, everywhere in a file."""
    chart = shutil.copytree(CHART, folder / "streamflow")
    text = (chart / path).read_text()
    assert old in text, "the mutant does not fit the chart any more"
    (chart / path).write_text(text.replace(old, new))
    return chart
