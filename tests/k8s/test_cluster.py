"""The chart on a real Kubernetes control plane: what no look at manifests shows. `make k8s`."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.k8s.control_plane import ControlPlane
from tests.k8s.toolbox import CHART, mutant

pytestmark = [
    pytest.mark.k8s,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not os.environ.get("STREAMFLOW_K8S"), reason="THE CHART IS NOT INSTALLED ANYWHERE: make k8s"),
]


class Release:
    """A release in a namespace of its own, where Pod Security admits only what is restricted."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self._folder = cluster, namespace, folder
        enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforce}})

    def upgrade(self, values: dict[str, Any], chart: Path = CHART, wait: bool = True) -> str:
        """Install or upgrade; what Helm complains about, empty when it is done."""
        base = {
            "topology": {"name": "readings", "path": "/topologies/readings"},
            "settings": {"brokers": "kafka:9092", "http_anonymous": True},
        }
        path = self._folder / "values.yaml"
        with path.open("w") as file:
            YAML().dump(base | values, file)
        options = ("--wait", "--timeout", "60s") if wait else ()
        done = self.cluster.run(
            "helm", "upgrade", "--install", "readings", str(chart), "-n", self.namespace, "-f", str(path), *options
        )
        return done.stderr if done.returncode else ""

    def pods(self) -> dict[str, Any]:
        """Workers by name."""
        found = self.cluster.get(self.namespace, "pods", "-l", "app.kubernetes.io/component=worker")
        return {each["metadata"]["name"]: each for each in found["items"]}

    def claims(self) -> dict[str, str]:
        """Volume of each claim."""
        found = self.cluster.get(self.namespace, "pvc")["items"]
        return {each["metadata"]["name"]: each["spec"].get("volumeName", "") for each in found}

    def settle(self, count: int) -> None:
        """Wait until so many workers, and no others, are ready."""
        self.cluster.wait(lambda: sorted(_ready(self.pods()).values()) == [True] * count, f"{count} ready workers")


def _ready(pods: dict[str, Any]) -> dict[str, bool]:
    return {
        name: any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
        for name, pod in pods.items()
    }


@pytest.fixture
def release(cluster: ControlPlane, unique: str, tmp_path: Path) -> Release:
    return Release(cluster, unique, tmp_path)


def test_install_test_and_uninstall_under_restricted_pod_security(release: Release) -> None:
    assert release.upgrade({"replicas": 3}) == ""
    release.settle(3)
    nodes = {pod["spec"]["nodeName"] for pod in release.pods().values()}
    assert len(nodes) == 3, "one worker a node and zone"
    assert release.cluster.get(release.namespace, "jobs")["items"] == [], "the topics Job is gone when it succeeded"
    tested = release.cluster.run("helm", "test", "readings", "-n", release.namespace)
    assert tested.returncode == 0, tested.stderr
    assert len(set(release.claims().values())) == 3
    release.cluster.run("helm", "uninstall", "readings", "-n", release.namespace, "--wait")
    release.settle(0)
    assert len(release.claims()) == 3, "volumes stay"
    left = release.cluster.get(release.namespace, "all,configmap,networkpolicy,pdb")["items"]
    assert {each["metadata"]["name"] for each in left} == {"kube-root-ca.crt"}


def test_a_topics_job_that_fails_stops_the_install(release: Release, tmp_path: Path) -> None:
    fails = "metadata:\n      annotations: {test.streamflow/outcome: fail}\n      labels:"
    chart = mutant(tmp_path, "templates/topics-job.yaml", "metadata:\n      labels:", fails)
    text = (chart / "templates/topics-job.yaml").read_text()
    (chart / "templates/topics-job.yaml").write_text(text.replace("backoffLimit: 3", "backoffLimit: 0"))
    assert "failed" in release.upgrade({}, chart)
    assert release.pods() == {}


def test_a_new_image_takes_one_worker_at_a_time_and_a_new_chart_none(release: Release, tmp_path: Path) -> None:
    restoring = {"podAnnotations": {"test.streamflow/ready-after": "1s"}, "replicas": 3}
    assert release.upgrade(restoring) == ""
    before = {name: pod["metadata"]["uid"] for name, pod in release.pods().items()}
    newer = mutant(tmp_path, "Chart.yaml", "version: 0.1.0\nappVersion", "version: 0.2.0\nappVersion")
    assert release.upgrade(restoring, newer) == ""
    assert {name: pod["metadata"]["uid"] for name, pod in release.pods().items()} == before
    least, done = [3], threading.Event()

    def watch() -> None:
        while not done.is_set():
            least.append(sum(_ready(release.pods()).values()))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert release.upgrade(restoring | {"image": {"tag": "0.2.0"}}) == ""
        release.settle(3)
    finally:
        done.set()
        watcher.join()
    after = release.pods()
    assert {pod["metadata"]["uid"] for pod in after.values()}.isdisjoint(before.values())
    assert {pod["spec"]["containers"][0]["image"] for pod in after.values()} == {"streamflow:0.2.0"}
    assert min(least) == 2, "the rollout waits for each restore"


def test_workers_that_come_back_find_their_volumes(release: Release) -> None:
    assert release.upgrade({"replicas": 3}) == ""
    claims = release.claims()
    assert release.upgrade({"replicas": 1}) == ""
    release.settle(1)
    assert release.upgrade({"replicas": 3}) == ""
    release.settle(3)
    assert release.claims() == claims


def test_a_changed_topology_restarts_the_workers(release: Release) -> None:
    files = {"name": "readings", "files": {"topology.yaml": "topology: readings\n"}}
    assert release.upgrade({"topology": files}) == ""
    before = {pod["metadata"]["uid"] for pod in release.pods().values()}
    changed = {"name": "readings", "files": {"topology.yaml": "topology: readings\nversion: 2\n"}}
    assert release.upgrade({"topology": changed}) == ""
    release.settle(2)
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in release.pods().values())


def test_one_worker_at_a_time_may_be_evicted(release: Release) -> None:
    slow = {"podAnnotations": {"test.streamflow/ready-after": "5s"}, "replicas": 3}
    assert release.upgrade(slow) == ""
    budget = f"/apis/policy/v1/namespaces/{release.namespace}/poddisruptionbudgets/readings"
    release.cluster.wait(lambda: '"disruptionsAllowed":1' in release.cluster.kubectl("get", "--raw", budget), "budget")
    assert _evict(release, "readings-0") == ""
    assert "TooManyRequests" in _evict(release, "readings-1")


def _evict(release: Release, pod: str) -> str:
    body = f'{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{pod}"}}}}'
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    done = release.cluster.run("kubectl", "create", "--raw", path, "-f", "-", text=body)
    return done.stderr if done.returncode else ""


def test_an_upgrade_leaves_the_number_of_workers_to_the_autoscaler(release: Release) -> None:
    scaled = {"autoscaling": {"mode": "hpa", "maxReplicas": 4}}
    assert release.upgrade(scaled) == ""
    release.cluster.kubectl("-n", release.namespace, "scale", "statefulset/readings", "--replicas=3")
    release.settle(3)
    assert release.upgrade(scaled | {"service": {"port": 81}}) == ""
    assert len(release.pods()) == 3


def test_what_may_run_as_root_is_not_admitted(release: Release, tmp_path: Path) -> None:
    rooted = mutant(tmp_path, "templates/_worker.tpl", "runAsNonRoot: true\nrunAsUser: 10001", "runAsUser: 0")
    assert release.upgrade({"topicsJob": {"enabled": False}}, rooted, wait=False) == ""
    found = lambda: str(release.cluster.get(release.namespace, "events"))  # noqa: E731
    release.cluster.wait(lambda: "violates PodSecurity" in found(), "an event of Pod Security")
    assert release.pods() == {}
