"""What a worker finds that it has, and what it says when that is not enough."""

from pathlib import Path
from typing import Any

import pytest

from streamflow.errors import SettingsError
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.runtime.capabilities import accelerators, capabilities_of, refuse_idleness
from streamflow.settings.settings import Settings
from streamflow.topology.document import spec_of


def plan_of(**source: Any) -> Plan:
    nodes = {
        "events": {"kind": "source", "topic": "in", "schema": "E", **source},
        "out": {"kind": "sink", "input": "events", "topic": "out"},
    }
    return make_plan(spec_of({"topology": "t", "schemas": {"E": {"n": "int"}}, "nodes": nodes}))


def test_a_provider_of_a_gpu_counts_with_its_device(tmp_path: Path) -> None:
    offered = [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "OpenVINOExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert accelerators(offered, tmp_path) == {"openvino"}
    (tmp_path / "nvidia0").touch()
    assert accelerators(offered, tmp_path) == {"openvino", "cuda", "tensorrt", "gpu"}
    assert accelerators(["ROCMExecutionProvider"], tmp_path) == set()


def test_what_is_named_and_what_is_found() -> None:
    settings = Settings(capabilities="avx512, fast-disk")
    found = capabilities_of(settings, plan_of(requires=["avx512"]))
    assert {"avx512", "fast-disk", "wasm", "models", "cron"} <= found
    assert capabilities_of(settings, plan_of()) == {"avx512", "fast-disk"}, "nobody asks, so nothing is looked for"
    with pytest.raises(ValueError, match="capabilities"):
        Settings(capabilities="GPU!")


def test_a_worker_that_can_run_nothing_says_what_to_do() -> None:
    refuse_idleness(plan_of(requires=["gpu"]), frozenset({"gpu"}))
    with pytest.raises(
        SettingsError, match=r"nothing of t: stage events: events requires gpu; gpu is not here.*STREAMFLOW_CAP"
    ):
        refuse_idleness(plan_of(requires=["gpu"]), frozenset({"wasm"}))
