"""A topology's values, as `streamflow deploy values` writes them."""

from pathlib import Path

import pytest

from streamflow.deploy.release import FILES_MAX_BYTES, release_values, topology_files
from streamflow.deploy.values import ChartValues
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.runtime.topics import wanted_partitions
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_values_follow_from_the_plan() -> None:
    plan = make_plan(load_topology("topologies/flights"))
    settings = load_settings(brokers="k:9092", commit_interval_ms=50, http_port=1)
    made = release_values(plan, Path("topologies/flights"), settings, wanted_partitions(plan, {}), 9)
    values = ChartValues.model_validate(made)
    assert (values.replicas, values.autoscaling.max_replicas, values.topology.partitions) == (4, 4, 4)
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
