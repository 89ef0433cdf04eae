"""A worker that Kafka does not take ends at once, with what to do and a code that is not started again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.runtime.exit_codes import EXIT_REFUSED
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_GROUP, _TRANSACTIONAL_ID = 3, 5
_LITERAL, _PREFIXED = 3, 4
_EVERY_OPERATION, _DENY = 2, 2


@pytest.fixture(scope="module")
def strict_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with an authoriser and a session time-out of nine seconds at least."""
    properties = {
        "group.min.session.timeout.ms": "9000",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    broker = EmbeddedBroker.start(tmp_path_factory.mktemp("strict"), properties=properties)
    yield broker.bootstrap
    broker.stop()


def _deny(bootstrap: str, kind: int, name: str, pattern: int) -> None:
    async def main() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            request = CreateAclsRequest(kind, name, pattern, "User:ANONYMOUS", "*", _EVERY_OPERATION, _DENY)
            answer = await admin._send_request(request)
            assert [each[0] for each in answer.creation_responses] == [0]
        finally:
            await admin.close()

    asyncio.run(main())


def _end(product: Product, folder: Path, session_ms: int) -> tuple[int, str]:
    product.launch(0, STREAMFLOW_SESSION_TIMEOUT_MS=str(session_ms))
    code = product.workers.pop(0).wait(60)
    return code, (folder / "worker-0.log").read_text()


def test_a_session_time_out_that_the_broker_does_not_allow(strict_kafka: str, tmp_path: Path, unique: str) -> None:
    code, log = _end(Product(strict_kafka, tmp_path, unique), tmp_path, 6_000)
    assert code == EXIT_REFUSED
    assert "set STREAMFLOW_SESSION_TIMEOUT_MS between" in log


def test_a_group_that_may_not_be_read(strict_kafka: str, tmp_path: Path, unique: str) -> None:
    _deny(strict_kafka, _GROUP, f"streamflow.{unique}", _LITERAL)
    code, log = _end(Product(strict_kafka, tmp_path, unique), tmp_path, 10_000)
    assert code == EXIT_REFUSED
    assert f"group streamflow.{unique}: the group may not be read" in log


def test_a_transactional_id_that_may_not_be_used(strict_kafka: str, tmp_path: Path, unique: str) -> None:
    _deny(strict_kafka, _TRANSACTIONAL_ID, f"sf.streamflow.{unique}.", _PREFIXED)
    code, log = _end(Product(strict_kafka, tmp_path, unique), tmp_path, 10_000)
    assert code == EXIT_REFUSED
    assert "Write and Describe on its transactional id" in log
