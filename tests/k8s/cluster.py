"""A Kubernetes of tests, as helm and kubectl see it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.k8s.toolbox import tool

START_S = 60.0


class Cluster:
    """Where helm and kubectl are sent. `kubeconfig` is that of its administrator."""

    def __init__(self, folder: Path, programs: Sequence[str]) -> None:
        self.folder = folder
        self._programs = {name: tool(name) for name in programs}
        self.kubeconfig = folder / "kubeconfig"

    def run(self, program: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run helm or kubectl against it."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HELM_CACHE_HOME": str(self.folder / "helm")}
        command = [self._programs[program], *arguments]
        return subprocess.run(command, capture_output=True, text=True, input=text, timeout=180, env=environment)

    def kubectl(self, *arguments: str) -> str:
        """Output of kubectl; AssertionError when it fails."""
        done = self.run("kubectl", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, namespace: str, kind: str, *arguments: str) -> Any:
        """Objects as data."""
        return json.loads(self.kubectl("-n", namespace, "get", kind, *arguments, "-o", "json"))

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Create or change objects."""
        text = "\n---\n".join(json.dumps(each) for each in manifests)
        done = self.run("kubectl", "apply", "--server-side", "-f", "-", text=text)
        assert done.returncode == 0, done.stderr

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = START_S) -> None:
        """Wait until a condition holds; AssertionError with `what` and its log when it does not."""
        deadline = time.monotonic() + limit_s
        while not condition():
            log = self.folder / f"{what}.log"
            assert time.monotonic() < deadline, what + (log.read_text()[-3_000:] if log.exists() else "")
            time.sleep(0.1)

    def answers(self, *arguments: str) -> bool:
        """Whether a command of kubectl succeeds."""
        return self.run("kubectl", *arguments).returncode == 0
