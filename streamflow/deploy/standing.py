"""How a release stands: its workers, and why those that are not ready are not."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streamflow.deploy.tool import Tool
from streamflow.errors import ExternalError, UserError

_TIME_OUT_S = 30
#: Exit code of a worker that refuses to run, and that no restart heals (runtime/exit_codes.py).
_REFUSED = 78


class KubectlFailed(ExternalError):
    """kubectl refused; the message is what it said."""


@dataclass(frozen=True)
class PodStanding:
    """A pod. reason: why it is not ready, empty when it is."""

    name: str
    node: str
    ready: bool
    restarts: int
    reason: str


@dataclass(frozen=True)
class Standing:
    """Workers of a release, and the pods of its Jobs that have not ended well."""

    wanted: int
    workers: tuple[PodStanding, ...]
    jobs: tuple[PodStanding, ...]

    @property
    def ready_count(self) -> int:
        """Workers that answer."""
        return sum(pod.ready for pod in self.workers)

    @property
    def is_good(self) -> bool:
        """Whether all workers are there and ready."""
        return self.wanted > 0 and self.ready_count == self.wanted == len(self.workers) and not self.jobs


def read_standing(release: str, namespace: str, command: str = "kubectl") -> Standing:
    """Ask the cluster. Raises UserError without kubectl, KubectlFailed with its words."""
    found = shutil.which(command)
    if found is None:
        raise UserError(f"{command} is not there: https://kubernetes.io/docs/tasks/tools/, or give --kubectl PATH")
    tool = Tool(found, namespace, KubectlFailed)
    selector = f"app.kubernetes.io/instance={release}"
    text = tool.run(["get", "statefulsets,pods", "-l", selector, "-o", "json"], _TIME_OUT_S)
    return standing(json.loads(text)["items"])


def standing(objects: Iterable[dict[str, Any]]) -> Standing:
    """Of StatefulSets and pods as the API gives them."""
    wanted, workers, jobs = 0, [], []
    for each in objects:
        if each["kind"] == "StatefulSet":
            wanted += each["spec"].get("replicas", 1)
        elif each["metadata"]["labels"].get("app.kubernetes.io/component") == "worker":
            workers.append(_pod(each))
        elif each["status"].get("phase") != "Succeeded":
            jobs.append(_pod(each))
    return Standing(wanted, tuple(sorted(workers, key=_number)), tuple(jobs))


def _number(pod: PodStanding) -> tuple[int, str]:
    digits = pod.name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0, pod.name


def _pod(each: dict[str, Any]) -> PodStanding:
    status = each["status"]
    conditions = {found["type"]: found for found in status.get("conditions", [])}
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    ready = conditions.get("Ready", {}).get("status") == "True" and "deletionTimestamp" not in each["metadata"]
    return PodStanding(
        name=each["metadata"]["name"],
        node=each["spec"].get("nodeName", ""),
        ready=ready,
        restarts=sum(found.get("restartCount", 0) for found in containers),
        reason="" if ready else _reason(each, conditions, containers),
    )


def _reason(each: dict[str, Any], conditions: dict[str, dict[str, Any]], containers: list[dict[str, Any]]) -> str:
    if "deletionTimestamp" in each["metadata"]:
        return "is stopping"
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"has no node: {scheduled.get('message') or scheduled.get('reason', '')}"
    for found in containers:
        ended = found.get("state", {}).get("terminated") or found.get("lastState", {}).get("terminated") or {}
        waiting = found.get("state", {}).get("waiting")
        if ended and ended.get("exitCode") == _REFUSED:
            return f"refuses to run (exit code {_REFUSED}); why: kubectl logs --previous {each['metadata']['name']}"
        if ended and ended.get("exitCode"):
            return f"ended with exit code {ended['exitCode']} ({ended.get('reason', '')})"
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            return f"waits: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
    if any("running" in found.get("state", {}) for found in containers):
        return "restores its state, or waits for its tasks (/readyz tells)"
    return "is starting"
