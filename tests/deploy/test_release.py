"""A topology's values, as `streamflow deploy values` writes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamflow.deploy.release import FILES_MAX_BYTES, release_values, topology_files
from streamflow.deploy.values import ChartValues
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.runtime.topics import wanted_partitions
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.k8s.inspection import complaints_of, of_kind, read
from tests.k8s.toolbox import CHART, tool


def test_values_follow_from_the_plan() -> None:
    plan = make_plan(load_topology("topologies/flights"))
    settings = load_settings(brokers="k:9092", commit_interval_ms=50, http_port=1)
    made = release_values(plan, Path("topologies/flights"), settings, wanted_partitions(plan, {}), 9)
    values = ChartValues.model_validate(made)
    assert (values.replicas, values.autoscaling.max_replicas, values.topology.partitions) == (2, 2, 2)
    assert values.settings == {"brokers": "k:9092", "commit_interval_ms": 50}, "the pod's own settings stay out"
    assert "flights.by_carrier.repartition" in values.topology.input_topics
    assert load_topology("topologies/flights").topology == values.topology.name
    assert "topology.yaml" in values.topology.files
    assert values.resources.memory == "512Mi"


def test_a_single_file_gets_the_name_that_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sales.yaml").write_text("topology: sales\n")
    assert topology_files(tmp_path / "sales.yaml") == {"topology.yaml": "topology: sales\n"}


def test_what_a_config_map_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text("#" * (FILES_MAX_BYTES + 1))
    with pytest.raises(UserError, match=r"900 KiB.*topology\.path"):
        topology_files(tmp_path)
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "own.py").write_text("")
    with pytest.raises(UserError, match="modules in folders"):
        topology_files(tmp_path)


def test_a_rendered_topology_is_what_kubernetes_takes(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("replicas: 3\nmonitoring: {mode: pod, rules: true}\n")
    options = ("--brokers", "kafka:9092", "--workers", "2", "--values", str(more), "--helm", tool("helm"))
    done = streamflow_deploy("render", "topologies/flights", *options)
    manifests = read(done.stdout)
    assert list(complaints_of(manifests)) == []
    (workers,) = of_kind(manifests, "StatefulSet")
    assert (workers["metadata"]["name"], workers["spec"]["replicas"]) == ("flights", 3)
    (files,) = (each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == "flights-topology")
    for name, text in files["data"].items():
        (tmp_path / name).write_text(text)
    more.unlink()
    assert load_topology(tmp_path) == load_topology("topologies/flights")


def test_without_helm_and_with_values_it_refuses_the_reason_is_said() -> None:
    missing = streamflow_deploy("render", "topologies/flights", "--helm", "no-such-helm")
    assert missing.returncode == 2
    assert "helm.sh" in missing.stderr
    options = ("--brokers", "kafka:9092", "--values", str(CHART / "ci" / "hpa-values.yaml"), "--helm", tool("helm"))
    refused = streamflow_deploy("render", "topologies/flights", "--release", "Not-A-Name", *options)
    assert refused.returncode == 1
    assert "Not-A-Name" in refused.stderr


def streamflow_deploy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamflow", "deploy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)
