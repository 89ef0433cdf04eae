"""Runs the command line tools of Kubernetes on a namespace."""

import subprocess
from collections.abc import Sequence

from streamflow.errors import ExternalError


class Tool:
    """A program that takes `--namespace`. refusal: what a failure becomes, with the program's own words."""

    def __init__(self, program: str, namespace: str, refusal: type[ExternalError]) -> None:
        self._program, self._namespace, self._refusal = program, namespace, refusal

    def run(self, arguments: Sequence[str], limit_s: int, text: str | None = None) -> str:
        """What it prints. Raises the refusal when it fails or takes longer than the limit."""
        command = [self._program, *arguments, "--namespace", self._namespace]
        try:
            done = subprocess.run(  # noqa: S603 - the program was found by its name, arguments are ours
                command, input=text, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise self._refusal(f"{self._program} did not answer within {limit_s} s") from error
        if done.returncode:
            raise self._refusal(done.stderr.strip())
        return done.stdout
