"""The command line, as people and programs use it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


def _streamflow(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "streamflow", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "160", **environment}
    )


def test_check_says_what_is_good() -> None:
    done = _streamflow("check", "topologies/flights")
    assert done.returncode == 0
    assert "5 stages" in done.stdout


def test_check_lists_every_problem_and_ends_with_2() -> None:
    done = _streamflow("check", "tests/topology/bad/aggregates.yaml")
    assert done.returncode == 2
    assert re.search(r"\d+ problems", done.stderr)
    assert done.stderr.count("✗") > 2


def test_plan_shows_stages_topics_and_the_picture() -> None:
    done = _streamflow("plan", "topologies/flights")
    assert done.returncode == 0
    for text in ("flights.by_carrier.repartition", "compact,delete", "hourly_delays", "flowchart LR"):
        assert text in done.stdout
    body = json.loads(_streamflow("plan", "topologies/flights", "--json").stdout)
    assert [stage["name"] for stage in body["stages"]] == [
        "departures+reports",
        "by_carrier",
        "by_weather",
        "by_destination",
        "by_airline",
    ]


@pytest.mark.kafka
def test_topics_are_listed_and_created(kafka: str, tmp_path: Path, unique: str) -> None:
    text = Path("topologies/flights/topology.yaml").read_text().replace("topology: flights", f"topology: {unique}")
    (tmp_path / "topology.yaml").write_text(text.replace("flights.", f"{unique}."))
    assert f"{unique}.dead_letters" in _streamflow("topics", str(tmp_path)).stdout
    created = _streamflow("topics", str(tmp_path), "--create", "--brokers", kafka, "--json")
    assert json.loads(created.stdout)[f"{unique}.departures"] == 2
    again = _streamflow("topics", str(tmp_path), "--create", "--brokers", kafka, "--json")
    assert again.stdout == created.stdout


@pytest.mark.kafka
def test_doctor_names_what_is_missing(kafka: str, tmp_path: Path) -> None:
    settings = {"STREAMFLOW_STATE_DIR": str(tmp_path), "STREAMFLOW_HTTP_PORT": "0"}
    good = _streamflow("doctor", "--json", STREAMFLOW_BROKERS=kafka, **settings)
    assert good.returncode == 0, good.stdout
    bad = _streamflow("doctor", STREAMFLOW_BROKERS="127.0.0.1:1", **settings)
    assert bad.returncode == 1
    assert "STREAMFLOW_BROKERS" in bad.stdout


@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_a_missing_topology_is_a_clear_error(command: str) -> None:
    done = _streamflow(command, "nowhere")
    assert done.returncode == 2
    assert "there is no such file or folder" in done.stderr


def test_what_few_topologies_need_is_not_imported_by_all() -> None:
    """Each of these takes 0.05 s or more; together they were a tenth of a worker's start."""
    late = [
        "numpy",
        "datasketches",
        "onnxruntime",
        "sklearn",
        "pyarrow",
        "psycopg",
        "opentelemetry.sdk",
        "jwt",
        "smtplib",
        "wasmtime",
    ]
    code = f"import sys, streamflow.cli.main, streamflow.cli.service; print([n for n in {late} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_placement_says_where_nodes_run_and_fails_when_nobody_can(tmp_path: Path) -> None:
    text = Path("topologies/readings_stateless/topology.yaml").read_text()
    (tmp_path / "topology.yaml").write_text(text)
    done = _streamflow("placement", str(tmp_path))
    assert done.returncode == 0
    assert "its nodes require nothing" in done.stdout
    (tmp_path / "topology.yaml").write_text(text.replace("kind: source", "kind: source, requires: gpu", 1))
    alone = _streamflow("placement", str(tmp_path))
    assert alone.returncode == 1
    assert "start a worker that has gpu" in alone.stderr
    named = _streamflow("placement", str(tmp_path), "--json", STREAMFLOW_CAPABILITIES="gpu")
    assert named.returncode == 0
    assert {each["where"] for each in json.loads(named.stdout)["stages"]} == {"local"}
