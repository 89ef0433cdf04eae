"""What is said of pods, and of changes between manifests."""

from typing import Any

import pytest

from streamflow.deploy.changes import changes
from streamflow.deploy.standing import standing


def _pod(name: str, status: dict[str, Any], component: str = "worker", **metadata: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels, **metadata}, "spec": {}, "status": status}


_READY = {"conditions": [{"type": "Ready", "status": "True"}]}
_SET = {"kind": "StatefulSet", "metadata": {"name": "t", "labels": {}}, "spec": {"replicas": 2}}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]},
            "has no node: 0/3 nodes are available",
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, "is starting"),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}}]},
            "waits: ImagePullBackOff: no such tag",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "restartCount": 4,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
            "ended with exit code 137 (OOMKilled)",
        ),
        (
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 78, "reason": "Error"}}}]},
            "refuses to run (exit code 78); why: kubectl logs --previous t-1",
        ),
        (
            {"containerStatuses": [{"state": {"running": {}}}]},
            "restores its state, or waits for its tasks (/readyz tells)",
        ),
    ],
)
def test_a_worker_that_is_not_ready_has_a_reason(status: dict[str, Any], reason: str) -> None:
    found = standing([_pod("t-1", status), _SET, _pod("t-0", _READY)])
    assert [(pod.name, pod.ready) for pod in found.workers] == [("t-0", True), ("t-1", False)]
    assert found.workers[1].reason == reason
    assert (found.wanted, found.ready_count, found.is_good) == (2, 1, False)


def test_a_release_is_good_when_its_workers_are_ready_and_no_job_hangs() -> None:
    workers = [_SET, _pod("t-0", _READY), _pod("t-1", _READY)]
    done = _pod("t-topics-x", {"phase": "Succeeded"}, "topics")
    failed = _pod(
        "t-topics-y", {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}, "topics"
    )
    assert standing([*workers, done]).is_good
    found = standing([*workers, failed])
    assert not found.is_good
    assert [pod.reason for pod in found.jobs] == ["ended with exit code 1 ()"]
    stopping = _pod("t-2", _READY, deletionTimestamp="2026-01-01T00:00:00Z")
    assert not standing([*workers, stopping]).is_good


_OLD = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: n}
data: {x: "1", y: "2"}
---
kind: Secret
apiVersion: v1
metadata: {name: s}
stringData: {password: hunter2}
---
kind: Service
apiVersion: v1
metadata: {name: gone}
"""
_NEW = """
kind: ConfigMap
metadata: {namespace: n, name: a}
apiVersion: v1
data: {y: "2", x: "3"}
---
kind: Secret
apiVersion: v1
metadata: {name: s}
stringData: {password: hunter3}
---
# nothing but a remark
---
kind: Job
apiVersion: batch/v1
metadata: {name: new}
"""


def test_changes_are_told_by_object_in_any_order_of_keys_and_secrets_are_not_shown() -> None:
    found = {each.name: each for each in changes(_OLD, _NEW)}
    assert {name: each.what for name, each in found.items()} == {
        "ConfigMap/n/a": "changed",
        "Secret/s": "changed",
        "Service/gone": "removed",
        "Job/new": "added",
    }
    changed = [line for line in found["ConfigMap/n/a"].lines[2:] if line[0] in "+-"]
    assert changed == ["-  x: '1'", "+  x: '3'"]
    secret = "\n".join(found["Secret/s"].lines)
    assert "hunter" not in secret
    assert secret.count("sha256") == 2
    assert changes(_OLD, _OLD) == []
