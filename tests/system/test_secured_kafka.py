"""Kafka that asks who one is: every way to say it, what is refused and why, and a worker with all of it."""

import asyncio
import logging
import shlex
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.errors import BrokerUnavailable, KafkaRefusal, SettingsError
from streamflow.plan.planner import make_plan
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.exit_codes import EXIT_REFUSED
from streamflow.runtime.tail import follow
from streamflow.runtime.topics import ensure_topics
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology
from tests.secured import PASSWORDS, Authority, SecuredKafka, token
from tests.system.test_worker import Product, _sale

#: Kafka's numbers.
_KINDS, _PATTERNS, _ALLOW = {"topic": 2, "group": 3, "transactional-id": 5}, {"literal": 3, "prefixed": 4}, 3
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    kafka = SecuredKafka(tmp_path_factory.mktemp("secured"))
    yield kafka
    kafka.stop()


def _ways(kafka: SecuredKafka, folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of every way to say who one is."""
    tls = {"kafka_tls": True, "kafka_ca_file": kafka.authority.certificate}
    certificate, key = kafka.authority.give("worker", password=b"of the key")
    (folder / "token").write_text(token())
    user = {"kafka_username": "alice", "kafka_password": PASSWORDS["alice"]}
    mutual = {"kafka_cert_file": certificate, "kafka_key_file": key, "kafka_key_password": "of the key"}
    ways: dict[str, dict[str, Any]] = {
        "mutual TLS": {"brokers": kafka.address("TLS"), **tls, **mutual},
        "token": {
            "brokers": kafka.address("OAUTH"), **tls, "kafka_sasl": "oauthbearer", "kafka_token_file": folder / "token"
        },
        "without TLS": {
            "brokers": kafka.address("OPEN"), **user, "kafka_sasl": "plain", "kafka_sasl_plaintext": True
        },
    }  # fmt: skip
    for mechanism in ("plain", "scram-sha-256", "scram-sha-512"):
        ways[mechanism] = {"brokers": kafka.address("SASL"), **tls, **user, "kafka_sasl": mechanism}
    return ways


def test_every_way_to_say_who_one_is(secured: SecuredKafka, tmp_path: Path, unique: str) -> None:
    async def write_and_read(way: str, given: dict[str, Any]) -> None:
        settings = load_settings(**given)
        topic = f"{unique}.{way.replace(' ', '-')}"
        admin = AIOKafkaAdminClient(**connection(settings))
        producer = AIOKafkaProducer(**connection(settings), transactional_id=topic)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(topic, 1, 1)])
            await producer.start()
            async with producer.transaction():
                await producer.send_and_wait(topic, way.encode())
        finally:
            await producer.stop()
            await admin.close()
        async for record in follow(settings, topic, True):
            assert record.value == way.encode()
            break

    async def main() -> None:
        for way, given in _ways(secured, tmp_path).items():
            async with asyncio.timeout(60):
                await write_and_read(way, given)

    asyncio.run(main())


def test_what_is_refused_says_why_and_nothing_secret(
    secured: SecuredKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ways = _ways(secured, tmp_path)
    trusted = {"kafka_tls": True, "kafka_ca_file": secured.authority.certificate}
    late, stranger = secured.authority.give("late", timedelta(days=-1)), Authority(tmp_path, "other").give("stranger")
    (tmp_path / "old").write_text(token(lasts_s=-1))
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (ways["scram-sha-256"] | {"kafka_password": "wrong-secret"}, KafkaRefusal, "user and password"),
        (ways["plain"] | {"kafka_password": "wrong-secret"}, KafkaRefusal, "user and password"),
        (ways["plain"] | {"brokers": secured.address("OAUTH")}, KafkaRefusal, "STREAMFLOW_KAFKA_SASL"),
        (ways["token"] | {"kafka_token_file": tmp_path / "old"}, KafkaRefusal, "invalid_token"),
        (ways["token"] | {"kafka_token_file": tmp_path / "none"}, KafkaRefusal, "TOKEN_FILE"),
        (trusted | {"brokers": secured.address("TLS")}, KafkaRefusal, "it refuses our certificate"),
        (
            trusted | {"brokers": secured.address("TLS"), "kafka_cert_file": late[0], "kafka_key_file": late[1]},
            KafkaRefusal,
            "it refuses our certificate",
        ),
        (
            trusted
            | {"brokers": secured.address("TLS"), "kafka_cert_file": stranger[0], "kafka_key_file": stranger[1]},
            KafkaRefusal,
            "it refuses our certificate",
        ),
        ({"brokers": secured.address("TLS"), "kafka_tls": True}, KafkaRefusal, "STREAMFLOW_KAFKA_CA_FILE"),
        (trusted | {"brokers": secured.address("EXPIRED")}, KafkaRefusal, "certificate has expired"),
        (trusted | {"brokers": f"localhost:{secured.ports['SASL']}"}, KafkaRefusal, "not valid for 'localhost'"),
        ({"brokers": secured.address("TLS")}, BrokerUnavailable, "does not answer"),
        (ways["mutual TLS"] | {"kafka_key_password": "wrong-secret"}, SettingsError, "_KEY_FILE"),
        (ways["without TLS"] | {"kafka_sasl_plaintext": False}, SettingsError, "whoever listens"),
    ]

    async def attempt(given: dict[str, Any]) -> Exception:
        settings = load_settings(**given)
        try:
            admin = AIOKafkaAdminClient(**connection(settings))
        except SettingsError as error:
            return error
        try:
            await admin.start()
        except KafkaError as error:
            return await unavailable(settings, error)
        finally:
            await admin.close()
        raise AssertionError(f"{given} was taken")

    caplog.set_level(logging.INFO)
    secrets = (PASSWORDS["alice"], "wrong-secret", "of the key", token()[:20])
    for given, kind, message in cases:
        found = asyncio.run(attempt(given))
        assert type(found) is kind, (given, found)
        assert message in str(found)
        assert not [each for each in secrets if each in f"{found} {load_settings(**given)!r} {given['brokers']}"]
    assert not [each for each in caplog.messages for secret in secrets if secret in each]


def test_a_worker_that_knows_kafka_and_whom_it_serves(
    secured: SecuredKafka, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, command = tmp_path / "keys.json", CliRunner()
    made = command.invoke(app, ["keys", "new", "tests", "--grant", "operator", "--file", str(keys)])
    (tmp_path / "key").write_text(made.stdout)
    (tmp_path / "password").write_text(PASSWORDS["alice"] + "\n")
    certificate, key = secured.authority.give("web")
    environment = {
        "STREAMFLOW_BROKERS": secured.address("SASL"),
        "STREAMFLOW_KAFKA_TLS": "true",
        "STREAMFLOW_KAFKA_CA_FILE": str(secured.authority.certificate),
        "STREAMFLOW_KAFKA_SASL": "plain",
        "STREAMFLOW_KAFKA_USERNAME": "alice",
        "STREAMFLOW_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
        "STREAMFLOW_HTTP_TLS_CERT_FILE": str(certificate),
        "STREAMFLOW_HTTP_TLS_KEY_FILE": str(key),
        "STREAMFLOW_HTTP_CA_FILE": str(secured.authority.certificate),
        "STREAMFLOW_API_KEYS_FILE": str(keys),
        "STREAMFLOW_WORKER_SECRET": "s" * 32,
        "STREAMFLOW_LOG_LEVEL": "debug",
    }
    trust = ssl.create_default_context(cafile=secured.authority.certificate)

    class Secured(Product):
        def client(self, number: int = 0) -> httpx.Client:
            headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
            url = f"https://127.0.0.1:{self.ports[number]}"
            return httpx.Client(base_url=url, timeout=60, headers=headers, verify=trust)

    product = Secured(secured.bootstrap, tmp_path, unique)
    try:
        for number in (0, 1):
            product.start(number, **environment)
        cities = [f"city-{i}" for i in range(20)]
        sales = [_sale(1_000 + i, shop=f"s{i}", city=city) for i, city in enumerate(cities)]
        answer = product.query("totals", after=product.publish(sales)["token"], limit=100).json()
        assert sorted(row["key"] for row in answer["rows"]) == sorted(cities)
        assert len(answer["served_by"]) == 2, "workers know one another"
        url = f"https://127.0.0.1:{product.ports[0]}"
        with httpx.Client(base_url=url, verify=trust) as stranger:
            assert stranger.get("/v1/topologies").status_code == 401
        monkeypatch.setenv("STREAMFLOW_HTTP_CA_FILE", str(secured.authority.certificate))
        monkeypatch.setenv("STREAMFLOW_API_KEY_FILE", str(tmp_path / "key"))
        asked = command.invoke(app, ["query", f"{unique}/totals", "--url", url, "--json"])
        assert asked.exit_code == 0, asked.output
        key_id = made.stdout[4:16]
        assert command.invoke(app, ["keys", "revoke", key_id, "--file", str(keys)]).exit_code == 0
        deadline = time.monotonic() + 60
        while product.client().get("/v1/topologies").status_code != 401:
            assert time.monotonic() < deadline, "the key is still good"
            time.sleep(0.2)
        assert product.stop(0) == 0
        product.launch(0, **environment | {"STREAMFLOW_KAFKA_PASSWORD_FILE": str(tmp_path / "key")})
        assert product.workers.pop(0).wait(60) == EXIT_REFUSED
    finally:
        product.kill()
    log = (tmp_path / "worker-0.log").read_text()
    assert "KafkaRefusal" in log
    assert "STREAMFLOW_KAFKA_SASL" in log
    secrets = (PASSWORDS["alice"], made.stdout.strip(), made.stdout[17:].strip(), "s" * 32)
    assert not [each for each in secrets if each in log], "a secret is in the log"


class _Carol:
    """Gives carol rules, and takes them away."""

    def __init__(self, kafka: SecuredKafka) -> None:
        self._bootstrap = kafka.bootstrap

    def obey(self, command: str) -> None:
        """Do what a printed command of kafka-acls says (Kafka's tool itself is not among the broker's jars)."""
        words = shlex.split(command)[1:]
        assert words.pop(words.index("--add")) == "--add"
        given: dict[str, list[str]] = {}
        for name, value in zip(words[::2], words[1::2], strict=True):
            given.setdefault(name.removeprefix("--"), []).append(value)
        assert (given.pop("bootstrap-server"), given.pop("allow-principal")) == ([self._bootstrap], ["User:carol"])
        operations, pattern = given.pop("operation"), given.pop("resource-pattern-type", ["literal"])
        ((kind, names),) = given.items()
        for name in names:
            for operation in operations:
                self.change(CreateAclsRequest, name, operation, kind, pattern[0])

    def change(self, request: type, name: str, operation: str, kind: str = "topic", pattern: str = "literal") -> None:
        async def main() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
            await admin.start()
            try:
                rule = (_KINDS[kind], name, _PATTERNS[pattern], "User:carol", "*", _OPERATIONS[operation], _ALLOW)
                answer = await admin._send_request(request(*rule))
                results = answer.creation_responses if request is CreateAclsRequest else answer.filter_responses
                assert [each[0] for each in results] == [0]
            finally:
                await admin.close()

        asyncio.run(main())

    @contextmanager
    def without(self, name: str, operation: str) -> Iterator[None]:
        self.change(DeleteAclsRequest, name, operation)
        yield
        self.change(CreateAclsRequest, name, operation)


def test_what_deploy_acls_prints_is_enough_and_nothing_of_it_too_much(
    secured: SecuredKafka, tmp_path: Path, unique: str
) -> None:
    product, carol = Product(secured.bootstrap, tmp_path, unique), _Carol(secured)
    plan = make_plan(load_topology(tmp_path))
    asyncio.run(ensure_topics(plan, load_settings(brokers=secured.bootstrap)))
    printed = CliRunner().invoke(
        app, ["deploy", "acls", str(tmp_path), "--principal", "User:carol", "--brokers", secured.bootstrap]
    )
    for command in printed.stdout.splitlines():
        carol.obey(command)
    (tmp_path / "password").write_text(PASSWORDS["carol"])
    environment = {
        "STREAMFLOW_BROKERS": secured.address("SASL"),
        "STREAMFLOW_KAFKA_TLS": "true",
        "STREAMFLOW_KAFKA_CA_FILE": str(secured.authority.certificate),
        "STREAMFLOW_KAFKA_SASL": "plain",
        "STREAMFLOW_KAFKA_USERNAME": "carol",
        "STREAMFLOW_KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
    }
    log = tmp_path / "worker-0.log"
    try:
        product.start(0, **environment)
        token = product.publish([_sale(1_000)])["token"]
        assert product.query("totals", after=token, key="Rome").json()["rows"][0]["value"]["n"] == 1
        with carol.without(f"{unique}.totals", "Write"):
            product.publish([_sale(60_000 + i, shop=f"s{i}") for i in range(30)])
            assert product.workers.pop(0).wait(60) == EXIT_REFUSED
        assert "streamflow deploy acls" in log.read_text()
        log.write_text("")
        with carol.without(f"{unique}.sales", "Read"):
            product.launch(0, **environment)
            assert product.workers.pop(0).wait(60) == EXIT_REFUSED
        assert f"{unique}.sales" in log.read_text()
    finally:
        product.kill()
    given = {name.removeprefix("STREAMFLOW_").lower(): text for name, text in environment.items()}
    mine = load_settings(**given | {"kafka_password": PASSWORDS["carol"]})
    with carol.without(f"{unique}.totals", "DescribeConfigs"), pytest.raises(KafkaRefusal, match="configuration of"):
        asyncio.run(ensure_topics(plan, mine))
    with carol.without(f"{unique}.totals", "Write"), pytest.raises(KafkaRefusal, match="it may not be seen"):
        asyncio.run(ensure_topics(plan, mine))
    assert asyncio.run(ensure_topics(plan, mine))[f"{unique}.sales"] == 3
