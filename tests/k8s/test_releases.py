"""`streamflow deploy apply | diff | status | rollback` on a real control plane."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.k8s.control_plane import ControlPlane
from tests.k8s.toolbox import tool

pytestmark = [
    pytest.mark.k8s,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not os.environ.get("STREAMFLOW_K8S"), reason="NOTHING IS DEPLOYED ANYWHERE: make k8s"),
]
_TOPOLOGY = """
topology: shop_sales
schemas: {{Sale: {{time: timestamp, city: str, amount: int}}}}
nodes:
  sales:  {{kind: source, topic: shop.sales, schema: Sale, event_time: time, key: city, partitions: 4}}
  totals: {{kind: window, input: sales, window: {{type: tumbling, size: {size}}}, aggregate: {{total: sum(amount)}}}}
  out:    {{kind: sink, input: totals, topic: shop.totals}}
"""


class Deployer:
    """The command line with a kubeconfig and a folder."""

    def __init__(self, cluster: ControlPlane, folder: Path, namespace: str) -> None:
        self._cluster, self._folder, self._namespace = cluster, folder, namespace
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        self.write("1h")

    def write(self, size: str) -> None:
        """The topology with windows of a size."""
        (self._folder / "topology.yaml").write_text(_TOPOLOGY.format(size=size))

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """streamflow deploy COMMAND."""
        where = [str(self._folder), "--brokers", "kafka:9092"] if command in ("apply", "diff") else ["shop-sales"]
        tools = ["--helm", tool("helm")] + (["--kubectl", tool("kubectl")] if command != "diff" else [])
        line = [
            sys.executable,
            "-m",
            "streamflow",
            "deploy",
            command,
            *where,
            *arguments,
            "-n",
            self._namespace,
            *tools,
        ]
        environment = {**os.environ, "KUBECONFIG": str(self._cluster.kubeconfig), "COLUMNS": "200"}
        environment["STREAMFLOW_HTTP_ANONYMOUS"] = "true"
        return subprocess.run(line, capture_output=True, text=True, timeout=150, env=environment)


@pytest.fixture
def deployer(cluster: ControlPlane, tmp_path: Path, unique: str) -> Deployer:
    return Deployer(cluster, tmp_path, unique)


def test_a_release_from_its_first_look_to_its_way_back(deployer: Deployer) -> None:
    nothing = deployer.run("status")
    assert (nothing.returncode, "no release 'shop-sales'" in nothing.stderr) == (2, True)
    first = deployer.run("diff", "--json")
    assert first.returncode == 1, first.stderr
    added = {each["object"].split("/")[0] for each in json.loads(first.stdout) if each["what"] == "added"}
    assert {"StatefulSet", "Service", "ConfigMap"} <= added

    applied = deployer.run("apply", "--skip-preflight", "--workers", "3", "--wait", "60")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "revision 1" in applied.stdout
    assert "3 of 3 workers ready" in applied.stdout
    same = deployer.run("diff", "--workers", "3")
    assert (same.returncode, same.stdout.strip()) == (0, "nothing would change")

    deployer.write("2h")
    changed = deployer.run("diff", "--workers", "3")
    assert changed.returncode == 1
    assert "size: 1h" in changed.stdout
    assert "size: 2h" in changed.stdout
    assert deployer.run("apply", "--skip-preflight", "--workers", "3", "--wait", "100").returncode == 0
    assert deployer.run("diff", "--workers", "3").returncode == 0

    back = deployer.run("rollback", "--wait", "100")
    assert back.returncode == 0, back.stderr
    assert "Rollback to 1" in back.stdout
    again = deployer.run("diff", "--workers", "3")
    assert (again.returncode, "size: 1h" in again.stdout) == (1, True)
    status = deployer.run("status", "--json")
    assert status.returncode == 0, status.stdout
    found = json.loads(status.stdout)
    assert [row["revision"] for row in found["history"]] == [1, 2, 3]
    assert (found["ok"], found["wanted"], found["ready"]) == (True, 3, 3)


def test_workers_that_find_no_room_are_told_with_the_schedulers_words(deployer: Deployer, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("resources: {memory: 900Gi}\n")
    failed = deployer.run("apply", "--skip-preflight", "--wait", "5", "--values", str(more))
    assert failed.returncode == 1
    assert "has no node" in failed.stdout
    assert "Insufficient memory" in failed.stdout
    assert "streamflow deploy rollback shop-sales" in failed.stderr
    status = deployer.run("status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout)["ready"] == 0
