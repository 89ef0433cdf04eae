"""The event bus of a real worker on a real Kafka: what it says about its life."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Sale: {{time: timestamp, shop: str, amount: int}}}}
nodes:
  sales:  {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 1}}
  share:  {{kind: map, input: sales, set: {{part: 100 / amount}}}}
  totals: {{kind: window, input: share, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
"""

_POISON = json.dumps([{"time": 1_000 + at, "shop": "a", "amount": amount} for at, amount in enumerate((1, 0, 2, 0, 3))])


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _streamflow(kafka: str, environment: dict[str, str], *arguments: str, code: int = 0) -> Any:
    """What a command prints as JSON, or as text."""
    done = CliRunner().invoke(app, list(arguments), env={"STREAMFLOW_BROKERS": kafka, **environment})
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def _wait_until_proved(kafka: str, environment: dict[str, str], count: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        proof: dict[str, Any] = _streamflow(kafka, environment, "audit", "verify", "--json")
        if proof["partitions"][0]["proved"] >= count:
            return proof
        assert time.monotonic() < deadline, proof


def _data(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["type"] == kind]


def test_a_life_with_a_kill_is_on_the_bus_sealed_and_a_changed_copy_is_caught(
    product: Product, kafka: str, tmp_path: Path
) -> None:
    _streamflow(kafka, {}, "audit", "key", str(tmp_path / "key"))
    bus = {"STREAMFLOW_NAMESPACE": product.name, "STREAMFLOW_AUDIT_KEY": f"file:{tmp_path / 'key'}"}
    bus |= {"STREAMFLOW_AUDIT_SEAL_INTERVAL_MS": "100"}
    product.start(0, **bus)
    poison = product.client().post(f"/v1/topics/{product.name}.sales/events", content=_POISON).json()
    product.query("totals", after=poison["token"])
    product.stop(0, signal.SIGKILL)
    product.start(0, **bus, STREAMFLOW_COMMIT_INTERVAL_MS="50")
    with product.client().stream("GET", "/v1/events/stream", headers={"last-event-id": "0:0"}) as answer:
        cursor = ""
        for line in answer.iter_lines():
            if line.startswith("id: "):
                cursor = line.removeprefix("id: ")
            elif line == "event: DEAD_LETTER_ADDED":
                break
    page = product.client().get("/v1/events", params={"cursor": cursor, "type": "WORKER_STARTED"}).json()
    assert [each["data"]["predecessor"] for each in page["events"]] == ["killed"]
    ancient = product.client().get("/v1/events", params={"since": "0589-10-07T23:57:09Z", "limit": "1"})
    assert len(ancient.json()["events"]) == 1
    _wait_until_proved(kafka, bus, 9)
    status = product.client().get("/v1/events/status")
    rebuilt = _streamflow(kafka, bus, "audit", "rebuild", "--json", "--upto", status.headers["x-cursor"])
    assert status.content == json.dumps(rebuilt, sort_keys=True, separators=(",", ":")).encode()
    letters = {"dead_letters": {"expression": 2}}
    assert status.json()["rows"][f"{product.name}/share"] == letters
    assert status.json()["rows"][product.name]["version"] == 1
    assert product.stop(0) == 0

    # What happened is there, with the cause of the second life.
    events = _streamflow(kafka, bus, "audit", "list", "--json")
    url = f"http://127.0.0.1:{product.ports[0]}"
    started = _data(events, "WORKER_STARTED")
    assert [each["predecessor"] for each in started] == ["none", "killed"]
    assert [each["changes"] for each in _data(events, "CONFIGURATION_CHANGED")] == [{"commit_interval_ms": [100, 50]}]
    place = {"worker": url, "stage": "sales", "partition": 0}
    assert _data(events, "PARTITION_ASSIGNED") == [place, place]
    assert _data(events, "PARTITION_REVOKED") == [{**place, "reason": "stop"}]
    dead = [event for event in events if event["type"] == "DEAD_LETTER_ADDED"]
    assert [(each["subject"], each["data"]["count"]) for each in dead] == [(f"{product.name}/share", 2)]
    assert dead[0]["position"] == f"{product.name}.sales/0/1"
    filtered = _streamflow(
        kafka, bus, "audit", "list", "--json", "--node", "share", "--severity", "warning", "--topology", product.name
    )
    assert filtered == dead

    # Nothing was changed, and a copy proves it too; its last events came after the last seal.
    copy = tmp_path / "copy"
    _streamflow(kafka, bus, "audit", "export", str(copy))
    proof = _streamflow(kafka, bus, "audit", "verify", "--file", str(copy), "--json")
    assert proof["good"]
    assert proof["partitions"][0]["proved"] + proof["partitions"][0]["unsealed"] == len(events)
    lines = copy.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if "DEAD_LETTER_ADDED" in line)
    offset = json.loads(lines[at])["offset"]
    for name, tampered in {
        "changed": [*lines[:at], lines[at].replace("expression", "decode"), *lines[at + 1 :]],
        "missing": [*lines[:at], *lines[at + 1 :]],
        "reordered": [*lines[:1], lines[at], *lines[1:at], *lines[at + 1 :]],
    }.items():
        copy.write_text("\n".join(tampered))
        found = _streamflow(kafka, bus, "audit", "verify", "--file", str(copy), "--json", code=1)["findings"]
        assert name in {each["kind"] for each in found}
        assert name == "reordered" or [each["offset"] for each in found] == [offset]
