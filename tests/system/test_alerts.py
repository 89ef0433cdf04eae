"""Alerts of rules and nodes over two workers on a real Kafka, told to a real server, while the judge is killed."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from typer.testing import CliRunner

from streamflow.cli.main import app
from tests.calls.server import Server, serving
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

_TOPOLOGY = """
topology: {name}
schemas: {{Sale: {{time: timestamp, shop: str, amount: int}}}}
nodes:
  sales: {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  high:  {{kind: alert, input: sales, field: amount, above: 10}}
  out:   {{kind: sink, input: high, topic: {name}.alerts}}
"""
_FILE = """
rules:
  few_tasks: {{metric: active_workflows, by: [topology], combine: sum, below: 1000}}
notifiers:
  hook: {{kind: webhook, url: "{url}/ok/1", secret: "${{secret:hook}}", open_for: 1s}}
routes:
  default: {{group_wait: 0ms, tiers: [{{to: [hook]}}]}}
"""


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (seen := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return seen


def _told(server: Server) -> list[tuple[str, str, str]]:
    """(rule, state, alert) of every alert in every message."""
    messages: list[Any] = list(server.bodies)
    return [(each["rule"], each["state"], each["alert"]) for message in messages for each in message["alerts"]]


def _judge(product: Product) -> int | None:
    for number in product.workers:
        if "streamflow_alerts_judge 1.0" in product.client(number).get("/metrics").text:
            return number
    return None


def _sales(product: Product, number: int, second: int, **amounts: int) -> None:
    product.publish([{"time": second * 1_000, "shop": shop, "amount": each} for shop, each in amounts.items()], number)


def _events(client: httpx.Client, kind: str) -> list[dict[str, Any]]:
    """Of a type, or of all."""
    parameters = {"limit": "1000"} | ({"type": kind} if kind else {})
    return list(client.get("/v1/events", params=parameters).json()["events"])


def test_alerts_survive_the_judge_and_are_told_acknowledged_and_silenced(
    product: Product, kafka: str, tmp_path: Path
) -> None:
    with serving() as server:
        (tmp_path / "alerts.yml").write_text(_FILE.format(url=server.url))
        settings = {
            "STREAMFLOW_NAMESPACE": product.name, "STREAMFLOW_ALERTS": "true", "STREAMFLOW_ALERTS_INTERVAL_MS": "500",
            "STREAMFLOW_ALERTS_FILE": str(tmp_path / "alerts.yml"), "STREAMFLOW_SECRET_HOOK": "h00k",
            "STREAMFLOW_OUTBOUND_NETWORKS": "127.0.0.0/8", "STREAMFLOW_EVENTS_DETAIL": "every",
        }  # fmt: skip
        product.start(0, **settings)
        product.start(1, **settings)
        _sales(product, 0, 1, a=20, b=5, c=13)
        _until(lambda: {("high", "raised:critical"), ("high", "raised:warning"), ("few_tasks", "raised:critical")}
               <= {(rule, state) for rule, state, _ in _told(server)}, "raised alerts were not told")  # fmt: skip

        judge = _until(lambda: (_judge(product) is not None) and [_judge(product)], "nobody judges")[0]
        other = 1 - judge
        url = str(product.client(other).base_url)
        open_ = (
            product.client(other).get("/v1/alerts", params={"rule": "high", "severity": "critical"}).json()["alerts"]
        )
        assert [each["labels"] for each in open_] == [{"shop": "a"}]
        said = _streamflow("alerts", "ack", open_[0]["alert"], "--actor", "ann", "--comment", "mine", "--url", url)
        assert said.strip() == f"{open_[0]['alert']} is yours"
        _streamflow("alerts", "silence", "high", "--label", "shop=d", "--for", "1h", "--url", url)
        _until(lambda: ("high", "acknowledged", open_[0]["alert"]) in _told(server), "the acknowledgement was not told")

        server.down = True
        product.stop(judge, signal.SIGKILL)
        _sales(product, other, 2, a=1, d=99)
        _until(lambda: _judge(product) == other, "nobody took over")
        server.down = False
        _until(lambda: ("high", "cleared", open_[0]["alert"]) in _told(server), "the end was not told")

        client = product.client(other)
        expected = {("a", False, False), ("c", True, False), ("d", True, True)}
        all_ = _until(lambda: _alerts_are(client, expected), "the table does not show it")
        silenced = next(each["alert"] for each in all_ if each["labels"]["shop"] == "d")
        assert silenced not in {alert for _, _, alert in _told(server)}
        ended = _streamflow("alerts", "clear", silenced, "--actor", "ann", "--comment", "gone", "--url", url)
        assert ended.strip() == f"{silenced} is over"
        assert client.get(f"/v1/alerts/{silenced}").json()["reason"] == "by hand: gone"
        _until(lambda: _is_reported(client, product.name), "the report has no samples")
        assert "monitoring is active" in _streamflow("alerts", "report", "--url", url)
        _rules_can_be_given(client, url, tmp_path)
        _is_consistent(client, kafka, product.name)
        asyncio.run(_is_announced(client, kafka, f"{product.name}.alerts"))


def _is_reported(client: httpx.Client, topology: str) -> bool:
    """Whether a worker measures, and its report has what it measured, and the alert of the rule."""
    told = client.get("/v1/performance/report", params={"topology": topology, "window": "1m"}).json()
    assert told["alert_summary"]["critical_alerts"] > 0
    found = told["performance_summary"].get("active_workflows", {"current": 0})
    return bool(told["monitoring_status"] == "active" and found["current"] > 0)


def _alerts_are(client: httpx.Client, expected: set[tuple[str, bool, bool]]) -> list[dict[str, Any]]:
    """Alerts of the node when they are (shop, open, silenced)."""
    found: list[dict[str, Any]] = client.get("/v1/alerts", params={"state": "all", "rule": "high"}).json()["alerts"]
    seen = {(each["labels"]["shop"], each["cleared"] is None, each["silenced"]) for each in found}
    return found if seen == expected else []


def _rules_can_be_given(client: httpx.Client, url: str, folder: Path) -> None:
    """A rule that is given and taken away again raises and clears, and a wrong one is refused whole."""
    (folder / "rules.yml").write_text("rules: {some_tasks: {metric: active_workflows, by: [topology], above: 0}}")
    _streamflow("alerts", "rules", str(folder / "rules.yml"), "--url", url)
    _until(lambda: client.get("/v1/alerts", params={"rule": "some_tasks"}).json()["alerts"], "the rule is not judged")
    refused = client.put("/v1/alerts/rules", json={"rules": {"some_tasks": {"metric": "m"}, "no": {"kind": "x"}}})
    assert (refused.status_code, len(refused.json()["problems"])) == (422, 2)
    assert client.put("/v1/alerts/rules", json={"rules": {}}).json()["rules"]["few_tasks"]["origin"] == "file"
    _until(lambda: not client.get("/v1/alerts", params={"rule": "some_tasks"}).json()["alerts"], "it was not cleared")


def _is_consistent(client: httpx.Client, kafka: str, namespace: str) -> None:
    """The log says each raise once, no rule is open twice, and the table can be made of it again."""
    raised = Counter((event["data"]["alert"], event["data"]["severity"]) for event in _events(client, "ALERT_RAISED"))
    assert set(raised.values()) == {1}
    is_open: set[str] = set()
    moves = [each for each in _events(client, "") if each["type"] in ("ALERT_RAISED", "ALERT_CLEARED")]
    for rule, kind in [(move["data"]["rule"], move["type"]) for move in moves if move["data"]["rule"] != "high"]:
        assert (rule in is_open) is (kind == "ALERT_CLEARED")
        is_open ^= {rule}
    status = client.get("/v1/events/status")
    environment = {"STREAMFLOW_BROKERS": kafka, "STREAMFLOW_NAMESPACE": namespace}
    rebuilt = _streamflow("audit", "rebuild", "--json", "--upto", status.headers["x-cursor"], env=environment)
    assert rebuilt.encode() == status.content


async def _is_announced(client: httpx.Client, kafka: str, topic: str) -> None:
    """DATA_AVAILABLE names every record of the sink, once."""
    ranges = [event["data"] for event in _events(client, "DATA_AVAILABLE")]
    announced = Counter(
        (each["topic"], each["partition"], each["offset"] + place) for each in ranges for place in range(each["count"])
    )
    found: list[tuple[str, int, int]] = []
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while len(found) < 4:  # three keys raised, one of them cleared
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.topic, record.partition, record.offset) for record in records]
    finally:
        await consumer.stop()
    assert announced == Counter(found)


def _streamflow(*arguments: str, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(app, list(arguments), env=env)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout
