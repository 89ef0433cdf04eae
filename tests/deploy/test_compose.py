"""`docker compose up`, watched as its user would. Takes an engine and its registries, so only `make compose` runs it.

COMPOSE_FILE may name a second file, as for compose itself: images made on this machine instead of the pinned ones.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not os.environ.get("STREAMFLOW_COMPOSE"), reason="NOTHING IS STARTED BY COMPOSE: make compose"),
]

_WORKER, _PROMETHEUS = "http://localhost:8080", "http://localhost:9090"
_HOURS = 10


def _compose(root: Path, *words: str) -> str:
    command = ["docker", "compose", "--project-name", "streamflow-test", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1_500)
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


@pytest.fixture
def up(root: Path) -> Iterator[None]:
    try:
        _compose(root, "up", "--detach", "--wait")
        yield
    finally:
        _compose(root, "down", "--volumes")


def _publish(first: int, count: int) -> str:
    """Departures, one a minute, through whatever becomes of the worker; the token of the last."""
    events = [
        {"time": 1_357_016_400_000 + n * 60_000, "carrier": "UA", "origin": ("JFK", "LGA")[n % 2], "dest": "LAX"}
        | {"dep_delay": float(n % 40), "distance": 2475}
        for n in range(first, first + count)
    ]
    deadline = time.monotonic() + 120
    while True:
        try:
            key = {"Idempotency-Key": f"departures-{first}"}
            answer = httpx.post(f"{_WORKER}/v1/topics/flights.departures/events", json=events, headers=key)
            if answer.is_success:
                return str(answer.json()["token"])
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "nobody takes events"
        time.sleep(0.3)


def _counts(token: str) -> list[int]:
    """Departures per hour, when everything up to a token is counted."""
    params: dict[str, str | int] = {"key": "UA", "limit": 100, "after": token}
    answer = httpx.get(f"{_WORKER}/v1/topologies/flights/tables/hourly_delays", params=params, timeout=60)
    return [row["value"]["departures"] for row in answer.json()["rows"]]


def _prometheus(path: str, **params: str) -> Any:
    return httpx.get(f"{_PROMETHEUS}/api/v1/{path}", params=params).json()["data"]


def _expressions(root: Path) -> Iterator[str]:
    for path in (root / "helm/streamflow/files/dashboards").iterdir():
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield target["expr"].replace("$topology", ".*").replace("$__rate_interval", "60s")


def test_compose_brings_up_what_counts_shows_and_survives(up: None, root: Path) -> None:
    _publish(0, 300)
    _compose(root, "restart", "worker")
    token = _publish(300, 60 * _HOURS - 300)
    assert _counts(token) == [60] * _HOURS, "what was published was counted once, whoever counted it"

    deadline = time.monotonic() + 120
    while empty := [each for each in _expressions(root) if not _prometheus("query", query=each)["result"]]:
        assert time.monotonic() < deadline, f"panels without data: {empty}"
        time.sleep(2)
    assert [each["health"] for each in _prometheus("targets")["activeTargets"]] == ["up"]
    (group,) = _prometheus("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}

    refused = "touch /x || touch /opt/streamflow/x || exec grep CapEff /proc/1/status"
    assert _compose(root, "exec", "worker", "sh", "-c", refused).split()[-1] == "0" * 16
    _compose(root, "stop", "worker")
    (worker,) = (json.loads(line) for line in _compose(root, "ps", "--all", "--format=json", "worker").splitlines())
    assert worker["ExitCode"] == 0, "it was killed instead of ending"

    _compose(root, "down")
    _compose(root, "up", "--detach", "--wait")
    assert _counts(token) == [60] * _HOURS, "volumes outlive their containers"
