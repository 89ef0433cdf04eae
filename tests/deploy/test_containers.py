"""Dockerfile and docker-compose.yml, as far as they can be judged without Docker."""

import asyncio
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from streamflow.deploy.values import OF_THE_POD
from streamflow.runtime.embedded.broker import _java_command
from streamflow.runtime.embedded.jars import kafka_jars
from streamflow.runtime.topics import broker_count
from streamflow.settings.settings import Settings, load_settings
from tests.k8s.inspection import of_kind, read
from tests.k8s.toolbox import CHART, helm_template
from tests.ports import free_ports


def _compose(root: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(root / "docker-compose.yml"))


def test_hadolint_has_nothing_to_say(root: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, root / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_run_by_nobody_and_its_user_is_the_charts(root: Path) -> None:
    text = (root / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "uid 10001" in last
    assert re.search(r"^ENTRYPOINT \[\"streamflow\"\]$", last, re.MULTILINE)
    (workers,) = of_kind(read(helm_template(CHART / "ci" / "least-values.yaml").stdout), "StatefulSet")
    pod = workers["spec"]["template"]["spec"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == (10001, 10001)
    assert pod["containers"][0]["args"][0] == "run", "the image's entry point is the command line"


def test_what_the_image_leaves_out_is_not_needed_by_a_worker(root: Path) -> None:
    uninstalled = re.search(r"pip uninstall --yes ([a-z0-9 ]+)", (root / "Dockerfile").read_text())
    assert uninstalled is not None
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {uninstalled[1].split()!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import streamflow.cli.service, streamflow.runtime.worker, streamflow.web.app
from streamflow.cli.main import app
app(["check", "topologies/flights"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root)
    assert done.returncode == 0, done.stderr


def test_the_lock_has_what_the_product_asks_for_with_digests(root: Path) -> None:
    asked = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    text = (root / "requirements.lock").read_text().replace("\\\n", "")
    locked = {line.split("==")[0]: line for line in text.splitlines() if "==" in line and not line.startswith("#")}
    for each in map(Requirement, asked):
        line = locked[canonicalize_name(each.name)]
        assert each.specifier.contains(line.split("==")[1].split()[0]), f"{each} is locked otherwise: make lock"
    assert all("--hash=sha256:" in line for line in locked.values())


def test_what_is_copied_into_the_image_is_in_its_context(root: Path) -> None:
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [line.split()[1:-1] for line in (root / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    assert {name for names in copied for name in names if not name.startswith(("-", "/"))} == allowed
    assert all((root / name).exists() for name in allowed)


def test_compose_refers_only_to_what_is_there(root: Path) -> None:
    compose = _compose(root)
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        assert {each["source"] for each in service.get("configs", [])} <= set(compose.get("configs", {})), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (root / source).exists() if source.startswith(".") else source in compose["volumes"], volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to the network"
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+@", service["image"]), f"{name}: pin its version"


def test_compose_scrapes_and_starts_the_worker_as_it_is_set(root: Path) -> None:
    compose = _compose(root)
    worker, kafka = compose["services"]["worker"], compose["services"]["kafka"]
    known = {f"STREAMFLOW_{name.upper()}" for name in Settings.model_fields}
    assert set(worker["environment"]) <= known
    assert (
        f"INTERNAL://{worker['environment']['STREAMFLOW_BROKERS']}"
        in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
    scraped = YAML(typ="safe").load(compose["configs"]["prometheus"]["content"])
    assert scraped["scrape_configs"][0]["static_configs"] == [{"targets": ["worker:8080"]}]
    assert (root / worker["command"][1].lstrip("/") / "topology.yaml").is_file()
    stop_s = int(worker["stop_grace_period"].removesuffix("s"))
    assert stop_s * 1_000 > Settings.model_fields["shutdown_deadline_ms"].default


def test_the_chart_sets_what_belongs_to_the_pod() -> None:
    (workers,) = of_kind(read(helm_template(CHART / "ci" / "least-values.yaml").stdout), "StatefulSet")
    names = [each["name"] for each in workers["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert {f"STREAMFLOW_{name.upper()}" for name in OF_THE_POD} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.k8s
@pytest.mark.skipif(not os.environ.get("STREAMFLOW_K8S"), reason="a second Kafka, to try compose's settings: make k8s")
def test_the_settings_of_compose_start_a_real_kafka(root: Path, tmp_path: Path) -> None:
    given = _compose(root)["services"]["kafka"]["environment"]
    ports = dict(zip(("19092", "9092", "9093"), map(str, free_ports(3)), strict=True))
    lines = []
    for name, text in given.items():
        if name.startswith("KAFKA_"):  # the image makes a property of each, and has no others
            text = re.sub(
                r"\b(19092|9092|9093)\b", lambda found: ports[found[0]], text.replace("//kafka:", "//localhost:")
            )
            lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={text}")
    properties = tmp_path / "kafka.properties"
    properties.write_text("\n".join(lines).replace("/var/lib/kafka/data", str(tmp_path / "data")))
    java = _java_command(":".join(map(str, kafka_jars(lambda _: None))), tmp_path)
    form = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={given['CLUSTER_ID']}", "-c", str(properties)]
    assert subprocess.run(form, capture_output=True, timeout=60).returncode == 0
    log = tmp_path / "kafka.log"
    with log.open("wb") as file:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while asyncio.run(broker_count(load_settings(brokers=f"127.0.0.1:{ports['9092']}"))) != 1:
            assert broker.poll() is None, log.read_text()[-2_000:]
            assert time.monotonic() < deadline, log.read_text()[-2_000:]
    finally:
        broker.terminate()
        broker.wait(30)
