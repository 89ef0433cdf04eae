"""What `streamflow deploy` renders, run as it says on a real Kafka: the topics Job, then the worker with its probes.

Container, volume and node are missing; commands, variables, files, probes and the way to stop are those of the manifests.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.k8s.inspection import of_kind, read
from tests.k8s.toolbox import tool
from tests.ports import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, amount: int}}
nodes:
  sales:  {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  totals: {{kind: window, input: sales, window: {{type: tumbling, size: 1s}}, aggregate: {{total: sum(amount)}}, table: totals}}
  out:    {{kind: sink, input: totals, topic: {name}.totals}}
"""


class Deployed:
    """Manifests of a topology, with the folders and the port of this machine in the places of the pod's."""

    def __init__(self, kafka: str, folder: Path, name: str) -> None:
        (folder / "source").mkdir()
        (folder / "source" / "topology.yaml").write_text(_TOPOLOGY.format(name=name))
        command = [
            sys.executable,
            "-m",
            "streamflow",
            "deploy",
            "render",
            str(folder / "source"),
            "--helm",
            tool("helm"),
        ]
        given = {**os.environ, "STREAMFLOW_BROKERS": kafka, "STREAMFLOW_REPLICATION_FACTOR": "1"}
        given["STREAMFLOW_HTTP_ANONYMOUS"] = "true"
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=given)
        assert done.returncode == 0, done.stderr
        self.manifests = read(done.stdout)
        self.port = free_port()
        self._places = {
            "/etc/streamflow/topology": str(folder / "mounted"),
            "/var/lib/streamflow": str(folder / "volume"),
            "$(POD_NAME)": f"{name}-0",
            "$(POD_NAMESPACE)": "default",
        }
        (folder / "mounted").mkdir()
        maps = {each["metadata"]["name"]: each["data"] for each in of_kind(self.manifests, "ConfigMap")}
        for file, text in maps[f"{name}-topology"].items():
            (folder / "mounted" / file).write_text(text)

    def container(self, kind: str) -> dict[str, Any]:
        """The only container of the only object of a kind."""
        (owner,) = of_kind(self.manifests, kind)
        (container,) = owner["spec"]["template"]["spec"]["containers"]
        return dict(container)

    def start(self, container: dict[str, Any], log: Path) -> "subprocess.Popen[bytes]":
        """Run a container's command with its variables, and no others of ours."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("STREAMFLOW_")}
        environment |= {each["name"]: self._here(each["value"]) for each in container["env"] if "value" in each}
        environment["STREAMFLOW_HTTP_PORT"] = str(self.port)
        command = [sys.executable, "-m", "streamflow", *map(self._here, container["args"])]
        with log.open("wb") as file:
            return subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def _here(self, text: str) -> str:
        for place, here in self._places.items():
            text = text.replace(place, here)
        return text

    def answer(self, probe: dict[str, Any]) -> int:
        """Status that a probe sees, 0 when nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{probe['httpGet']['path']}", timeout=5).status_code
        except httpx.TransportError:
            return 0


@pytest.fixture
def deployed(kafka: str, tmp_path: Path, unique: str) -> Deployed:
    return Deployed(kafka, tmp_path, unique)


@pytest.fixture
def worker(deployed: Deployed, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    job = deployed.start(deployed.container("Job"), tmp_path / "job.log")
    assert job.wait(60) == 0, (tmp_path / "job.log").read_text()
    process = deployed.start(deployed.container("StatefulSet"), tmp_path / "worker.log")
    yield process
    process.kill()
    process.wait()


def test_the_manifests_run(deployed: Deployed, worker: "subprocess.Popen[bytes]", tmp_path: Path, unique: str) -> None:
    container, log = deployed.container("StatefulSet"), tmp_path / "worker.log"
    deadline = time.monotonic() + 60
    while deployed.answer(container["readinessProbe"]) != 200:
        assert worker.poll() is None, log.read_text()[-3_000:]
        assert time.monotonic() < deadline, log.read_text()[-3_000:]
        time.sleep(0.1)
    assert deployed.answer(container["livenessProbe"]) == deployed.answer(container["startupProbe"]) == 200
    with httpx.Client(base_url=f"http://127.0.0.1:{deployed.port}", timeout=60) as client:
        token = client.post(f"/v1/topics/{unique}.sales/events", json={"time": 0, "shop": "a", "amount": 7}).json()
        rows = client.get(f"/v1/topologies/{unique}/tables/totals", params={"key": "a", "after": token["token"]}).json()
    assert [row["value"] for row in rows["rows"]] == [{"total": 7}]
    assert rows["served_by"] == [f"http://{unique}-0.{unique}-workers.default.svc:8080"]
    (workers,) = of_kind(deployed.manifests, "StatefulSet")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(workers["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
    assert any((tmp_path / "volume").rglob("*.sst")) or any((tmp_path / "volume").rglob("CURRENT"))
    assert '"level": "info"' in log.read_text() or '"level":"info"' in log.read_text(), "JSON for programs"
