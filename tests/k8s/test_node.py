"""The product's own image on a real node, with a real Kafka: what only a kubelet and containers show. `make k8s-node`."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streamflow.runtime.embedded.broker import EmbeddedBroker
from tests.k8s.load import CITIES, Load, Progress, read_all
from tests.k8s.real_node import ADDRESS, IMAGE, RealNode, build_images
from tests.k8s.toolbox import tool

pytestmark = [
    pytest.mark.k8s,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not os.environ.get("STREAMFLOW_K8S_NODE"), reason="NOTHING RUNS ON A REAL NODE: make k8s-node"),
]
_PORT, _PARTITIONS, _WINDOW_MS = 19_092, 6, 10_000
_RATE = int(os.environ.get("STREAMFLOW_K8S_RATE", "5000"))
_LOAD_S = 10.0
_TOPOLOGY = """
topology: shop
schemas: {Sale: {id: int, time: timestamp, shop: str, city: str, amount: int}}
nodes:
  sales:   {kind: source, topic: shop.sales, schema: Sale, event_time: time, watermark_delay: 5s, key: shop, partitions: 6,
            idle_after: 5s}
  passed:  {kind: sink, input: sales, topic: shop.passed}
  by_city: {kind: key_by, input: sales, key: city}
  totals:  {kind: window, input: by_city, window: {type: tumbling, size: 10s}, aggregate: {n: count(), total: sum(amount)},
            table: totals, allowed_lateness: 30m, retention: 2h}
  out:     {kind: sink, input: totals, topic: shop.totals}
"""
_VALUES: dict[str, Any] = {
    "image": {"repository": IMAGE, "tag": "one", "pullPolicy": "Never"},
    "settings": {"http_anonymous": True, "replication_factor": 1},
    "resources": {"cpu": "100m", "memory": "1Gi"},
    "storage": {"size": "1Gi"},
}
#: What a container can find out about itself.
_LOOK = """
import json, os
facts = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}
facts |= {line.split(":")[0]: line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs", "Seccomp:"))}
facts["services"] = sorted(name for name in os.environ if "SHOP" in name)
facts["instance"] = os.environ["STREAMFLOW_INSTANCE_ID"]
facts["token"] = os.path.exists("/var/run/secrets/kubernetes.io")
try:
    open("/opt/streamflow/x", "w")
    facts["root"] = "writable"
except OSError as error:
    facts["root"] = error.strerror
facts["volume"] = os.stat("/var/lib/streamflow").st_gid
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    made = RealNode(tmp_path_factory.mktemp("node"), build_images())
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def brokers(node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Kafka beside the pods."""
    listeners = {"listeners": f"PLAINTEXT://0.0.0.0:{_PORT}", "advertised.listeners": f"PLAINTEXT://{ADDRESS}:{_PORT}"}
    broker = EmbeddedBroker.start(tmp_path_factory.mktemp("kafka"), _PORT, properties=listeners)
    yield f"{ADDRESS}:{_PORT}"
    broker.stop()


class Deployed:
    """The topology as `streamflow deploy apply` makes it, in a namespace of restricted Pod Security."""

    def __init__(self, node: RealNode, brokers: str, folder: Path) -> None:
        self.node, self.brokers, self._folder = node, brokers, folder
        enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
        node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": enforce}})
        (folder / "topology.yaml").write_text(_TOPOLOGY)

    def forget(self) -> None:
        """All workers go, and the reset Job runs."""
        self.apply(2, "two", replicas=0, resetJob={"enabled": True})
        self.settle(0)

    def apply(self, workers: int, tag: str, **more: Any) -> None:
        """Install or upgrade, and wait until Helm says that all is ready."""
        values = self._folder.parent / "values.yaml"
        values.write_text(json.dumps(_VALUES | {"image": _VALUES["image"] | {"tag": tag}} | more))
        command = [sys.executable, "-m", "streamflow", "deploy", "apply", str(self._folder), "--brokers", self.brokers]
        options = ["-n", "shop", "--workers", str(workers), "--values", str(values), "--wait", "240"]
        tools = ["--helm", tool("helm"), "--kubectl", tool("kubectl")]
        environment = {**os.environ, "KUBECONFIG": str(self.node.kubeconfig), "STREAMFLOW_REPLICATION_FACTOR": "1"}
        done = subprocess.run(
            [*command, *options, *tools], capture_output=True, text=True, timeout=300, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.trouble()

    def settle(self, workers: int) -> None:
        """Wait until so many workers, and no others, are ready."""
        self.node.wait(lambda: sorted(self.ready().values()) == [True] * workers, f"{workers} ready workers", 240)

    def ready(self) -> dict[str, bool]:
        """Workers by name: are they ready?"""
        return {
            pod["metadata"]["name"]: "deletionTimestamp" not in pod["metadata"]
            and any(
                each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", [])
            )
            for pod in self.node.get("shop", "pods", "-l", "app.kubernetes.io/component=worker")["items"]
        }

    def trouble(self) -> str:
        """What pods say of themselves."""
        run = self.node.run
        return "\n".join(
            [
                run("kubectl", "-n", "shop", "get", "pods,events", "-o", "wide").stdout[-4_000:],
                run("kubectl", "-n", "shop", "logs", "-l", "app.kubernetes.io/name=streamflow", "--tail=20").stdout,
            ]
        )

    def url(self) -> str:
        """The Service, at its cluster address."""
        spec = self.node.get("shop", "service", "shop")["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def _rows(url: str, **parameters: Any) -> list[dict[str, Any]]:
    """All rows of the windowed table, as the Service answers."""
    found, cursor = [], None
    deadline = time.monotonic() + 120
    while True:
        given = {**parameters, "limit": 1_000} | ({} if cursor is None else {"cursor": cursor})
        try:
            answer = httpx.get(f"{url}/v1/topologies/shop/tables/totals", params=given, timeout=40)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            continue
        if answer.status_code in (202, 503):
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)
            continue
        assert answer.status_code == 200, answer.text
        found += answer.json()["rows"]
        cursor = answer.json().get("cursor")
        if cursor is None:
            return found


def test_a_topology_from_its_first_answer_through_deaths_upgrades_and_scaling_to_exact_results(
    node: RealNode, brokers: str, tmp_path: Path, record_testsuite_property: Any
) -> None:
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        record_testsuite_property(f"node-{len(told)}", text)
        print(text, file=sys.__stderr__, flush=True)

    folder = tmp_path / "shop"
    folder.mkdir()
    shop = Deployed(node, brokers, folder)
    began = time.monotonic()
    shop.apply(3, "one")
    shop.settle(3)
    ready_s = time.monotonic() - began
    url = shop.url()
    load = Load(url, "shop.sales", _RATE, _WINDOW_MS)
    token = load.publish(load.batch())
    assert sum(row["value"]["n"] for row in _rows(url, after=token)) == load.count
    tell(f"install: ready after {ready_s:.1f} s, first answered query after {time.monotonic() - began:.1f} s")
    look = json.loads(node.kubectl("-n", "shop", "exec", "shop-1", "--", "python", "-c", _LOOK))
    assert look == {
        "uid": 10_001, "gid": 10_001, "groups": [10_001], "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
        "services": [], "instance": "shop-1", "token": False, "root": "Read-only file system", "volume": 10_001,
    }  # fmt: skip

    with Progress(brokers, "streamflow.shop", "shop.sales", _PARTITIONS) as progress:
        load.start()
        try:
            time.sleep(_LOAD_S)
            tell(f"load: no partition without progress for more than {progress.longest_s():.1f} s")
            for what, act in (
                ("a worker deleted by force", lambda: _delete_by_force(shop, "shop-1", 3)),
                ("a rolling upgrade of 3 workers", lambda: _upgrade(shop, 3)),
                ("from 3 to 6 workers", lambda: _upgrade(shop, 6)),
                ("from 6 to 2 workers", lambda: _upgrade(shop, 2)),
            ):
                before, count = time.monotonic(), load.count
                act()
                took_s, done = time.monotonic() - before, time.monotonic()
                node.wait(partial(progress.has_moved_since, done), "progress of all partitions", 240)
                tell(
                    f"{what}: {took_s:.1f} s, longest without progress {progress.longest_s():.1f} s, "
                    f"{(load.count - count) / took_s:.0f} events/s, {load.repeated} requests repeated so far"
                )
        finally:
            load.stop()
    token = load.publish(load.batch())
    node.wait(lambda: _reflected(url, token), "all of it reflected", 240)
    rows = _rows(url)
    assert {(row["key"], row["start"]): row["value"]["n"] for row in rows} == load.sent
    assert {(row["key"], row["start"]): row["value"]["total"] for row in rows} == load.total
    assert {row["key"] for row in rows} == {f"c{i}" for i in range(CITIES)}
    passed = Counter(each["id"] for each in read_all(brokers, "shop.passed"))
    assert (len(passed), max(passed), max(passed.values())) == (load.count, load.count - 1, 1), "0 lost, 0 duplicated"
    shop.forget()
    left = {name for name in asyncio.run(_topics(brokers)) if name.startswith("shop.")}
    assert left >= {"shop.sales", "shop.passed", "shop.totals", "shop.dead_letters"}, "data stays"
    assert not [name for name in left if name.endswith((".changelog", ".repartition", ".control"))], (
        "the run is forgotten"
    )
    tell(f"{load.count} events: 0 lost, 0 duplicated; {len(rows)} windows exact")


def _upgrade(shop: Deployed, workers: int) -> None:
    shop.apply(workers, "two")
    shop.settle(workers)


async def _topics(brokers: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


def _delete_by_force(shop: Deployed, pod: str, workers: int) -> None:
    old = shop.node.get("shop", "pod", pod)["metadata"]["uid"]
    shop.node.kubectl("-n", "shop", "delete", "pod", pod, "--force", "--grace-period=0")
    shop.node.wait(
        lambda: shop.node.get("shop", "pods")["items"] and old not in str(shop.node.get("shop", "pods")), pod
    )
    shop.settle(workers)


def _reflected(url: str, token: str) -> bool:
    parameters: dict[str, str | int] = {"after": token, "limit": 1, "wait_ms": 10_000}
    try:
        return httpx.get(f"{url}/v1/topologies/shop/tables/totals", params=parameters, timeout=40).status_code == 200
    except httpx.TransportError:
        return False
