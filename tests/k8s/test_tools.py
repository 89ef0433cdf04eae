"""What tools of Prometheus and Compose say to the files of the product. `make k8s` has built them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.k8s.inspection import of_kind, read
from tests.k8s.toolbox import CHART, helm_template, tool

pytestmark = [
    pytest.mark.k8s,
    pytest.mark.skipif(not os.environ.get("STREAMFLOW_K8S"), reason="NO TOOL JUDGES ALERTS AND COMPOSE: make k8s"),
]


def _run(*command: str | Path) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_alerts_come_when_they_are_due_and_not_before(tmp_path: Path) -> None:
    cases = Path(__file__).with_name("alerts.test.yaml")
    code, said = _run(tool("promtool"), "test", "rules", cases)
    assert code == 0, said
    alerts = CHART / "files" / "alerts.yaml"
    worse = tmp_path / "alerts.yaml"
    worse.write_text(alerts.read_text().replace(" == 0", " >= 0"))
    (tmp_path / "cases.yaml").write_text(
        cases.read_text().replace("../../helm/streamflow/files/alerts.yaml", str(worse))
    )
    assert _run(tool("promtool"), "test", "rules", tmp_path / "cases.yaml")[0] == 1, "the cases notice a wrong rule"


def test_rules_of_a_release_are_rules_for_prometheus(tmp_path: Path) -> None:
    (rule,) = of_kind(read(helm_template(CHART / "ci" / "full-values.yaml").stdout), "PrometheusRule")
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(rule["spec"]))
    code, said = _run(tool("promtool"), "check", "rules", path)
    assert code == 0, said
    assert "9 rules found" in said


def test_the_scrapes_of_compose_are_what_prometheus_reads(root: Path, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    compose = YAML(typ="safe").load(root / "docker-compose.yml")
    path = tmp_path / "prometheus.yml"
    path.write_text(compose["configs"]["prometheus"]["content"].replace("/etc/prometheus/", f"{tmp_path}/"))
    (tmp_path / "alerts.yaml").write_text((CHART / "files" / "alerts.yaml").read_text())
    code, said = _run(tool("promtool"), "check", "config", path)
    assert code == 0, said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("depends_on: {kafka:", "depends_on: {kafk:"),
        ('volumes: ["state:/', 'volumes: ["stat:/'),
        ("{source: prometheus, target", "{source: prometheu, target"),
        ("./helm/streamflow/files/alerts.yaml", "./helm/streamflow/files/alert.yaml"),
        ("stop_grace_period", "stop_grace"),
        ("condition: service_healthy", "condition: healthy"),
    ],
)
def test_compose_is_read_as_docker_would_and_mistakes_are_noticed(
    root: Path, tmp_path: Path, old: str, new: str
) -> None:
    text = (root / "docker-compose.yml").read_text()
    assert old in text
    (tmp_path / "docker-compose.yml").write_text(text.replace(old, new))
    (tmp_path / "helm").symlink_to(root / "helm")
    code, said = _run(tool("compose-check"), tmp_path / "docker-compose.yml")
    assert (code == 0) == (old == new), said
