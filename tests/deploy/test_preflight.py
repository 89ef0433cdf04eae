"""The preflight names what a cluster lacks, and its commands mend it."""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from streamflow.deploy.preflight import Preflight, inspect
from streamflow.deploy.preflight_topics import needed_retention
from streamflow.plan.cluster import ClusterFacts, TopicFacts
from streamflow.plan.planner import make_plan
from streamflow.runtime.embedded.broker import _java_command
from streamflow.runtime.embedded.jars import kafka_jars
from streamflow.runtime.topics import wanted_partitions
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology

_DAY_MS = 86_400_000
_GOOD = {"min.insync.replicas": "2", "log.retention.hours": "168"}
_THREE = (1, 2, 3)

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, amount: int}}
nodes:
  sales:  {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, watermark_delay: 1h}}
  online: {{kind: source, topic: {name}.online, schema: Sale, event_time: time, key: shop, partitions: 3}}
  totals: {{kind: window, inputs: [sales, online], window: {{type: tumbling, size: 1d}}, allowed_lateness: 2h, aggregate: {{n: count()}}}}
  out:    {{kind: sink, input: totals, topic: {name}.totals}}
"""


def _judge(folder: Path, facts: ClusterFacts, workers: int = 3, memory: int | None = None, **over: object) -> Preflight:
    (folder / "topology.yaml").write_text(_TOPOLOGY.format(name="shop"))
    plan = make_plan(load_topology(folder))
    settings = load_settings(brokers="k:9092", **{"replication_factor": 3, **over})
    counts = wanted_partitions(plan, {name: found.partition_count for name, found in facts.topics.items()})
    return inspect(plan, settings, facts, counts, workers, memory)


def _topic(partitions: int = 3, replicas: tuple[int, ...] = _THREE, **config: str) -> TopicFacts:
    named = {name.replace("_", "."): value for name, value in config.items()}
    return TopicFacts((replicas,) * partitions, {"min.insync.replicas": "2", **named})


def _cluster(
    topics: Mapping[str, TopicFacts], brokers: tuple[int, ...] = _THREE, config: Mapping[str, str] = _GOOD
) -> ClusterFacts:
    return ClusterFacts(brokers, config, topics)


def _found(result: Preflight) -> set[tuple[str, str, str]]:
    return {(each.weight.value, each.check, each.place) for each in result.findings}


def test_a_good_cluster_has_no_findings(tmp_path: Path) -> None:
    assert _judge(tmp_path, _cluster({})).findings == ()
    kept = _topic(retention_ms=str(7 * _DAY_MS), cleanup_policy="delete", max_message_bytes=str(8 << 20))
    assert _judge(tmp_path, _cluster({"shop.sales": kept, "shop.online": kept})).findings == ()


@pytest.mark.parametrize(
    ("topic", "facts", "finding", "command"),
    [
        (
            "shop.sales",
            _topic(5),
            ("error", "co_partitioning", "stage sales+online"),
            "--topic shop.online --partitions 5",
        ),
        ("shop.sales", _topic(retention_ms="3600000"), ("warning", "retention", "shop.sales"), "retention.ms="),
        ("shop.sales", _topic(cleanup_policy="compact"), ("warning", "cleanup_policy", "shop.sales"), "policy=delete"),
        (
            "shop.sales",
            _topic(max_message_bytes="1000"),
            ("warning", "max_message_bytes", "shop.sales"),
            "max.message.bytes=4194304",
        ),
        ("shop.totals", _topic(replicas=(1,)), ("warning", "replicas", "shop.totals"), '"replicas":[1,2,3]'),
        (
            "shop.totals",
            _topic(replicas=(1,)),
            ("error", "min_insync_replicas", "shop.totals"),
            "min.insync.replicas=1",
        ),
        (
            "shop.totals",
            _topic(replicas=(1, 2)),
            ("warning", "min_insync_replicas", "shop.totals"),
            "min.insync.replicas=1",
        ),
        ("shop.dead_letters", _topic(2), ("error", "partitions", "shop.dead_letters"), "--delete --topic shop.dead"),
        (
            "__transaction_state",
            _topic(replicas=(2, 3)),
            ("warning", "replicas", "__transaction_state"),
            '"replicas":[2,3,1]',
        ),
    ],
)
def test_topics(tmp_path: Path, topic: str, facts: TopicFacts, finding: tuple[str, str, str], command: str) -> None:
    result = _judge(tmp_path, _cluster({topic: facts}))
    assert finding in _found(result)
    assert any(command in each.command for each in result.findings if (each.check, each.place) == finding[1:])


def test_a_changelog_that_forgets_is_an_error(tmp_path: Path) -> None:
    short = _topic(cleanup_policy="compact,delete", retention_ms=str(_DAY_MS))
    result = _judge(tmp_path, _cluster({"shop.totals.changelog": short}))
    assert ("error", "retention_ms", "shop.totals.changelog") in _found(result)


@pytest.mark.parametrize(
    ("facts", "over", "finding"),
    [
        (_cluster({}, (1,)), {}, ("error", "replication_factor", "cluster")),
        (_cluster({}), {"replication_factor": 1}, ("warning", "replication_factor", "cluster")),
        (_cluster({}), {"replication_factor": 1}, ("error", "min_insync_replicas", "cluster")),
        (_cluster({}, config={}), {}, ("warning", "min_insync_replicas", "cluster")),
        (
            _cluster({}, config=_GOOD | {"transaction.max.timeout.ms": "5000"}),
            {},
            ("error", "transaction_timeout", "cluster"),
        ),
        (
            _cluster({}, config=_GOOD | {"group.min.session.timeout.ms": "20000"}),
            {},
            ("error", "session_timeout", "cluster"),
        ),
        (_cluster({}, config=_GOOD | {"log.retention.ms": "60000"}), {}, ("warning", "retention", "shop.sales")),
        (_cluster({}), {"workers": 4}, ("warning", "workers", "workers")),
        (_cluster({}), {"memory": 256 << 20}, ("error", "memory", "workers")),
    ],
)
def test_the_cluster_and_the_workers(
    tmp_path: Path, facts: ClusterFacts, over: dict[str, Any], finding: tuple[str, str, str]
) -> None:
    assert finding in _found(_judge(tmp_path, facts, **over))


def test_events_are_needed_until_the_last_window_they_are_in_has_closed(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(
        _TOPOLOGY.format(name="shop")
        + "  by_n: {kind: key_by, input: online, key: amount}\n"
        + "  days: {kind: window, input: by_n, window: {type: tumbling, size: 2d}, aggregate: {n: count()}, table: days}\n"
    )
    hour_ms = 3_600_000
    assert needed_retention(make_plan(load_topology(tmp_path))) == {
        "shop.sales": _DAY_MS + 2 * hour_ms + hour_ms,  # window, allowed lateness, watermark delay
        "shop.online": 2 * _DAY_MS,  # the longer window behind the key_by
    }


def _cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamflow", "deploy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _with_admin(bootstrap: str, act: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> None:
    async def main() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            answer = (await act(admin)).to_object()
            assert all(each["error_code"] == 0 for each in next(v for v in answer.values() if isinstance(v, list))), (
                answer
            )
        finally:
            await admin.close()

    asyncio.run(main())


def _mend(command: str, bootstrap: str, folder: Path) -> None:
    """Run a printed command: `kafka-configs` with Kafka's own class, `kafka-topics`, which is not here, as a request."""
    name, *arguments = shlex.split(command)
    if name == "kafka-topics":
        topic, count = (arguments[arguments.index(option) + 1] for option in ("--topic", "--partitions"))
        _with_admin(bootstrap, lambda admin: admin.create_partitions({topic: NewPartitions(int(count))}))
        return
    assert name == "kafka-configs"
    java = _java_command(":".join(map(str, kafka_jars(lambda _: None))), folder)
    done = subprocess.run([*java, "kafka.admin.ConfigCommand", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.kafka
def test_a_real_cluster_is_judged_and_mended(kafka: str, tmp_path: Path, unique: str) -> None:
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY.format(name=unique))
    asked = (str(tmp_path), "--brokers", kafka, "--workers", "3", "--json")
    clean = json.loads(_cli("preflight", *asked, "--replication", "1").stdout)
    assert clean["ok"], clean
    assert clean["partitions"] == 3
    flawed = [
        NewTopic(f"{unique}.sales", 3, 1, topic_configs={"retention.ms": "60000", "min.insync.replicas": "2"}),
        NewTopic(f"{unique}.online", 2, 1, topic_configs={}),
        NewTopic(f"{unique}.totals.changelog", 3, 1, topic_configs={"cleanup.policy": "delete"}),
    ]
    _with_admin(kafka, lambda admin: admin.create_topics(flawed))
    done = _cli("preflight", *asked, "--replication", "3")
    body = json.loads(done.stdout)
    found = {(each["weight"], each["check"], each["place"]) for each in body["findings"]}
    assert done.returncode == 1
    assert found >= {
        ("error", "replication_factor", "cluster"),
        ("error", "min_insync_replicas", f"{unique}.sales"),
        ("warning", "retention", f"{unique}.sales"),
        ("error", "co_partitioning", "stage sales+online"),
        ("error", "cleanup_policy", f"{unique}.totals.changelog"),
    }
    for each in body["findings"]:
        if unique in each["command"]:
            _mend(each["command"], kafka, tmp_path)
    mended = json.loads(_cli("preflight", *asked, "--replication", "1").stdout)
    assert not [each for each in mended["findings"] if unique in each["place"] or each["weight"] == "error"]


@pytest.mark.kafka
def test_people_see_findings_with_commands_and_nobody_at_home_is_said(kafka: str) -> None:
    done = _cli("preflight", "topologies/flights", "--brokers", kafka, "--replication", "3")
    assert done.returncode == 1
    assert "STREAMFLOW_REPLICATION_FACTOR=1" in done.stdout
    assert "MiB a worker" in done.stdout
    nobody = _cli("preflight", "topologies/flights", "--brokers", "127.0.0.1:1")
    assert nobody.returncode == 1
    assert "does not answer" in nobody.stderr
