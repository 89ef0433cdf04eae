"""A topology's values, as `streamflow deploy values` writes them."""

import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from streamflow.deploy.needs import Needs, needs_of
from streamflow.deploy.release import FILES_MAX_BYTES, release_values, topology_binaries, topology_files
from streamflow.deploy.resources import estimate_memory
from streamflow.deploy.values import ChartValues
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.runtime.topics import wanted_partitions
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.k8s.inspection import complaints_of, of_kind, read
from tests.k8s.toolbox import CHART, tool

_TOPOLOGY = """
topology: shop
schemas:
  Sale: {time: timestamp, shop: str, city: str, amount: int}
nodes:
  sales:   {kind: source, topic: shop.sales, schema: Sale, event_time: time, key: shop, partitions: 4}
  by_city: {kind: key_by, input: sales, key: city}
  totals:  {kind: window, input: by_city, window: {type: tumbling, size: 1h}, aggregate: {n: count()}, table: totals}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "topology.yaml").write_text(_TOPOLOGY)
    (folder / "README.md").write_text("for people\n")
    return folder


def test_values_follow_from_the_plan(shop: Path) -> None:
    plan = make_plan(load_topology(shop))
    settings = load_settings(brokers="k:9092", commit_interval_ms=50, http_port=1)
    made = release_values(plan, shop, settings, wanted_partitions(plan, {}), 9)
    values = ChartValues.model_validate(made)
    assert (values.replicas, values.autoscaling.max_replicas, values.topology.partitions) == (4, 4, 4)
    assert values.settings == {"brokers": "k:9092", "commit_interval_ms": 50}, "the pod's own settings stay out"
    assert values.topology.input_topics == ["shop.sales", "shop.by_city.repartition"]
    made_topics = {each.name: each for each in values.topology.topics}
    assert set(made_topics) == {topic.name for topic in plan.topics}
    assert made_topics["shop.by_city.repartition"].partitions == 4
    assert made_topics["shop.totals.changelog"].config["cleanup.policy"] == "compact,delete"
    assert values.topology.files == {"topology.yaml": _TOPOLOGY}
    need = estimate_memory(plan, settings, 4, 9).total_bytes
    assert need < int(values.resources.memory.removesuffix("Mi")) << 20 < need * 1.4


def test_what_nodes_require_becomes_devices_and_labels_of_machines(shop: Path) -> None:
    text = _TOPOLOGY.replace("key: shop,", "key: shop, requires: [cuda, avx512, parquet],")
    (shop / "topology.yaml").write_text(text)
    plan = make_plan(load_topology(shop))
    made = release_values(plan, shop, load_settings(brokers="k:9092"), wanted_partitions(plan, {}), 2)
    values = ChartValues.model_validate(made)
    assert values.resources.extended == {"nvidia.com/gpu": "1"}
    assert values.node_selector == {"streamflow/avx512": "true"}
    assert values.settings["capabilities"] == "avx512,cuda"
    assert needs_of(plan, load_settings(), 4, 2).capabilities == ("avx512", "cuda"), "extras are the image's"
    found = {names: Needs(0, 0, (), names).devices for names in (("gpu",), ("gpu", "rocm"), ("avx512",))}
    assert [list(each) for each in found.values()] == [["nvidia.com/gpu"], ["amd.com/gpu"], []], "a GPU of either kind"


def test_a_single_file_gets_the_name_that_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sales.yaml").write_text("topology: sales\n")
    assert topology_files(tmp_path / "sales.yaml") == {"topology.yaml": "topology: sales\n"}


def test_what_a_config_map_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text("#" * (FILES_MAX_BYTES + 1))
    with pytest.raises(UserError, match=r"900 KiB.*topology\.path"):
        topology_files(tmp_path)
    (tmp_path / "topology.yaml").write_text("topology: sales\n")
    (tmp_path / "own.wasm").write_bytes(b"\0asm" + bytes(1_000))
    assert topology_files(tmp_path) == {"topology.yaml": "topology: sales\n"}
    assert b64decode(topology_binaries(tmp_path)["own.wasm"]) == b"\0asm" + bytes(1_000)
    (tmp_path / "own.wasm").write_bytes(bytes(FILES_MAX_BYTES))
    with pytest.raises(UserError, match=r"1200 KiB.*topology\.path"):
        topology_files(tmp_path)
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "own.py").write_text("")
    with pytest.raises(UserError, match="modules in folders"):
        topology_files(tmp_path)


def test_a_rendered_topology_is_what_kubernetes_takes(shop: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("settings: {http_anonymous: true}\nreplicas: 3\nmonitoring: {mode: pod, rules: true}\n")
    options = ("--brokers", "kafka:9092", "--workers", "2", "--values", str(more), "--helm", tool("helm"))
    done = streamflow_deploy("render", str(shop), *options)
    assert done.returncode == 0, done.stderr
    manifests = read(done.stdout)
    assert list(complaints_of(manifests)) == []
    (workers,) = of_kind(manifests, "StatefulSet")
    assert (workers["metadata"]["name"], workers["spec"]["replicas"]) == ("shop", 3)
    (files,) = (each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == "shop-topology")
    assert files["data"] == {"topology.yaml": _TOPOLOGY}


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
