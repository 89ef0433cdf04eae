"""On Kafka: what nodes require decides which worker gets their rows, and everybody says why."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_worker import Product

pytestmark = pytest.mark.kafka

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, amount: float}}
nodes:
  sales: {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, partitions: 2}}
  light: {{kind: filter, input: sales, where: amount > 0}}
  heavy:
    kind: wasm
    input: light
    module: streamflow/kit/sample.wat
    function: above
    arguments: [amount, "20.0"]
    requires: [gpu]
  out: {{kind: sink, input: heavy, topic: {name}.out}}
"""


def _until(wanted: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not wanted():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_rows_wait_for_a_worker_that_has_what_their_node_requires(kafka: str, tmp_path: Path, unique: str) -> None:
    product = Product(kafka, tmp_path, unique, _TOPOLOGY)

    def view(number: int) -> dict[str, Any]:
        return dict(product.client(number).get(f"/v1/topologies/{unique}").json())

    def placement(number: int) -> dict[str, Any]:
        return {each["stage"]: each for each in view(number)["placement"]["stages"]}

    def owners(stage: str) -> set[str]:
        return {url for task, url in view(0)["owners"].items() if task.startswith(stage)}

    def passed() -> int:
        counts = [task["nodes"].get("heavy", {}) for number in product.workers for task in view(number)["tasks"]]
        return sum(each.get("out", 0) for each in counts)

    try:
        product.start(0)
        product.publish([{"time": n, "amount": float(n)} for n in range(40)])
        heavy = placement(0)["heavy.queue"]
        assert (heavy["where"], heavy["workers"]) == ("nobody", [])
        assert "start a worker that has gpu" in heavy["remedy"]
        assert placement(0)["sales"]["reason"] == "its nodes require nothing"
        assert not owners("heavy.queue")
        assert "stage heavy.queue waits: heavy requires gpu" in (tmp_path / "worker-0.log").read_text()
        product.start(1, STREAMFLOW_CAPABILITIES="gpu")
        there = f"http://127.0.0.1:{product.ports[1]}"
        _until(lambda: owners("heavy.queue") == {there}, "the worker with a gpu did not get the stage")
        _until(lambda: passed() == 19, "rows did not pass")
        both = {there, f"http://127.0.0.1:{product.ports[0]}"}
        _until(lambda: owners("sales") == both, "the other stage is not shared")
        assert (placement(0)["heavy.queue"]["where"], placement(0)["heavy.queue"]["workers"]) == ("remote", [there])
        assert placement(1)["heavy.queue"]["where"] == "local"
        command = [sys.executable, "-m", "streamflow", "placement", str(tmp_path), "--json", "--url", there]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        shown = {node["name"]: each["where"] for each in json.loads(done.stdout)["stages"] for node in each["nodes"]}
        assert (shown["light"], shown["heavy"], shown["out"]) == ("local", "remote", "remote")
    finally:
        product.kill()
