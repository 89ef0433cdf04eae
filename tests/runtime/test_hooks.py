"""Contracts of the private hooks: an upgrade of Faust or aiokafka that changes what we use fails here, by name."""

import asyncio
import inspect
import socket
import ssl
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import BaseHandler, EndTxnHandler
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.tables.manager import TableManager
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver

from streamflow.checkpoint.checkpoint import Output
from streamflow.model.chunk import Chunk
from streamflow.model.trace_context import TraceContext
from streamflow.plan.planner import make_plan
from streamflow.runtime.assignor import StageAssignor
from streamflow.runtime.hooks import drain, group, last_word, reading, taint
from streamflow.runtime.hooks.faust_app import StageApp
from streamflow.runtime.hooks.filling import fill
from streamflow.settings.settings import load_settings
from streamflow.topology.yaml_file import parse_topology
from tests.secured import Authority


def test_the_pinned_versions_are_installed() -> None:
    assert aiokafka.__version__.startswith("0.14.")
    assert str(faust.__version__).startswith("0.15.")


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (driver.AIOKafkaConsumerThread, ["_create_worker_consumer", "_fetch_records", "seek_wait", "_ensure_consumer"]),
        (driver.AIOKafkaConsumerThread, ["on_thread_stop"]),
        (driver.Consumer, ["_new_consumer_thread"]),
        (Consumer, ["_getmany", "getmany", "perform_seek", "_add_gap", "_wait_next_records", "on_buffer_full"]),
        (faust.App, ["_on_partitions_revoked", "_on_partitions_assigned", "_on_rebalance_when_stopped", "_crash"]),
        (PartitionRecords, ["_consume_aborted_up_to", "_contains_abort_marker"]),
        (FetchResult, ["check_assignment", "has_more", "_update_position"]),
        (aiokafka_fetcher.Fetcher, ["_create_fetch_waiter", "_notify"]),
        (GroupCoordinator, ["check_errors", "_maybe_leave_group", "_send_req", "reset_generation"]),
        (TableManager, ["on_start", "_update_channels"]),
        (OAuthAuthenticator, ["step"]),
        (AIOKafkaConnection, ["connect", "send", "close", "authenticator_oauth"]),
        (AIOKafkaAdminClient, ["_send_request", "find_coordinator"]),
        (BaseHandler, ["do", "handle_response", "handle_error", "create_request"]),
    ],
)
def test_methods_we_override_or_call_exist(owner: type, names: list[str]) -> None:
    for name in names:
        assert callable(getattr(owner, name)), f"{owner.__name__}.{name}"


def test_signatures_are_as_we_call_them() -> None:
    fetch = inspect.signature(driver.AIOKafkaConsumerThread._fetch_records).parameters
    assert list(fetch) == ["self", "consumer", "active_partitions", "timeout", "max_records"]
    assert faust.App.BootStrategy.enable_kafka_producer is None
    assigned = inspect.signature(faust.App._on_partitions_assigned).parameters
    assert list(assigned) == ["self", "assigned", "generation_id"]


def test_connections_read_with_our_limit() -> None:
    reading.install()
    assert aiokafka.conn.READER_LIMIT == 4 << 20
    assert "READER_LIMIT" in AIOKafkaConnection.connect.__code__.co_names


def _batch(
    values: list[bytes], *, base: int = 0, compression: int = 0, transactional: int = 0, producer: int = -1
) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, transactional, producer, 0, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1_000 + index, b"k%d" % index, value, [("h", b"x")])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")  # the base offset is not covered by the checksum
    return bytes(data)


def _read(data: bytes, position: int = 0, aborted: list[tuple[int, int]] | None = None, **columns: bool) -> Chunk:
    drain.install()
    records: Any = PartitionRecords(None, drain.KeptRecords(data), aborted, position, None, None, True, READ_COMMITTED)
    chunk = drain.read(records, "t", 0, **({"marks": False, "timestamps": False} | columns))
    assert records.next_fetch_offset == chunk.next_offset
    return chunk


@pytest.mark.parametrize("compression", [0, 1])
def test_batches_become_columns_with_offsets(compression: int) -> None:
    data = _batch([b"a", b"b"], base=10, compression=compression) + _batch([b"c"], base=40, compression=compression)
    chunk = _read(data, 10)
    assert chunk.values == [b"a", b"b", b"c"]
    assert [chunk.offset_at(i) for i in range(3)] == [10, 11, 40]
    assert chunk.next_offset == 41
    assert [chunk.record(index).value for index in (0, 2, 1, 1, 0, 2)] == [b"a", b"c", b"b", b"b", b"a", b"c"]
    record = chunk.record(1)
    assert (record.key, record.value, record.timestamp_ms, record.headers) == (b"k1", b"b", 1_001, (("h", b"x"),))


def test_a_seek_into_a_batch_skips_what_lies_before() -> None:
    chunk = _read(_batch([b"a", b"b", b"c"], base=10), 11)
    assert chunk.values == [b"b", b"c"]
    assert chunk.offset_at(0) == 11


def test_aborted_transactions_are_left_out() -> None:
    aborted = _batch([b"x", b"y"], base=0, transactional=1, producer=7)
    good = _batch([b"z"], base=2, transactional=1, producer=8)
    chunk = _read(aborted + good, 0, [(7, 0)])
    assert chunk.values == [b"z"]
    assert chunk.next_offset == 3


@pytest.mark.parametrize("compression", [0, 1])
def test_a_correlation_is_seen_in_a_batch_of_its_own(compression: int) -> None:
    headers = [("h", b"x"), ("sf-correlation", b"id")]
    builders = [DefaultRecordBatchBuilder(2, compression, 0, -1, 0, 0, 1 << 20) for _ in range(2)]
    builders[0].append(0, 1_000, None, b"c", headers)
    for index in range(2):  # not ours: nobody looks
        builders[1].append(index, 1_000, None, b"d", headers)
    data = bytearray(builders[1].build())
    data[0:8] = (3).to_bytes(8, "big")
    alone = bytearray(builders[0].build())
    alone[0:8] = (2).to_bytes(8, "big")
    chunk = _read(_batch([b"a", b"b"]) + bytes(alone) + bytes(data))
    assert chunk.values == [b"a", b"b", b"c", b"d", b"d"]
    assert chunk.correlations == {2: b"id"}
    assert [chunk.offset_at(i) for i in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("compression", [0, 1])
def test_contexts_of_strangers_are_seen_in_any_batch_when_asked_for(compression: int) -> None:
    context = TraceContext.new()
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, 0, 0, 1 << 20)
    headers = [[], [("traceparent", context.header), ("sf-correlation", b"id")], [("traceparent", b"nonsense")]]
    for index, each in enumerate(headers):
        builder.append(index, 1_000, None, b"v", each)
    data = bytes(builder.build())
    chunk = _read(data, traces=True)
    assert chunk.values == [b"v", b"v", b"v"]
    assert chunk.traces == {1: context}
    assert chunk.correlations == {}, "those are only ours, in batches of their own"
    assert _read(data).traces == {}
    assert _read(data, traces=True, marks=True).traces == {}, "on internal topics they are in batches of their own"


@pytest.mark.parametrize("compression", [0, 1])
def test_ids_of_executions_are_seen_among_their_like_or_where_it_is_declared(compression: int) -> None:
    headers: list[list[tuple[str, bytes]]] = [
        [("sf-correlation", b"a")],
        [("sf-correlation", b"b" * 300), ("sf-piece", b"1"), ("sf-time", b"70")],
        [],
        [("sf-correlation", b"c")],
    ]
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, 0, 0, 1 << 20)
    for index, each in enumerate(headers):
        builder.append(index, 1_000 + index, None, b"[%d]" % index, each)
    data = bytes(builder.build())
    digest = sha256(b"b" * 300).hexdigest().encode()
    for columns in ({"marks": True}, {"headers": True}, {"headers": True, "timestamps": True}):
        chunk = _read(data, 0, None, **columns)
        assert chunk.correlations == {0: b"a", 1: digest, 3: b"c"}
        assert chunk.pieces == {1}
        assert chunk.run_at(3).max_timestamp_ms == 1_003, "only what comes alone was sent again"
        assert chunk.values == [b"[0]", b"[1]", b"[2]", b"[3]"]
        assert _read(data, 2, None, **columns).correlations == {1: b"c"}
    plain = _batch([b"[1]", b"[2]"], compression=compression)
    assert _read(data).correlations == {}, "on other topics nobody looks"
    assert _read(plain, marks=True).values == [b"[1]", b"[2]"]


def test_an_event_sent_again_has_the_time_at_which_it_was_written_first() -> None:
    """Its record's own timestamp is new; of records that nobody waits for, headers say nothing."""
    found = []
    ours = [("sf-time", b"70"), ("sf-parked", b"s/1/k")]
    for headers in ([*ours, ("sf-correlation", b"id")], ours):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 20)
        builder.append(0, 9_000, None, b"a", headers)
        chunk = _read(bytes(builder.build()), timestamps=True)
        found.append((chunk.timestamps, chunk.run_at(0).max_timestamp_ms, chunk.returned))
    assert found == [([70], 70, {0: b"s/1/k"}), ([9_000], 9_000, {})]


def test_marks_are_split_off_and_timestamps_are_beside() -> None:
    data = _batch([b"[1]", b"[2]", b'{"producer":0}']) + _batch([b'{"producer":1}'], base=3) + _batch([b"[3]"], base=4)
    chunk = _read(data, 0, None, marks=True, timestamps=True)
    assert chunk.values == [b"[1]", b"[2]", b"[3]"]
    assert [(mark.index, mark.value) for mark in chunk.marks] == [(2, b'{"producer":0}'), (2, b'{"producer":1}')]
    assert chunk.timestamps == [1_000, 1_001, 1_000]
    assert [chunk.offset_at(i) for i in range(3)] == [0, 1, 4]


def test_a_batch_that_is_filled_at_once_is_the_one_of_single_appends() -> None:
    records: list[Output] = [(b"k%d" % n, b"v" * n, None) for n in range(200)]
    records[7:9] = [(None, b"x", (("h", b"1"), ("h", b"2"))), (b"k", None, ())]
    singly, filled = BatchBuilder(4_096, 0, is_transactional=1), BatchBuilder(4_096, 0, is_transactional=1)
    fit = 0
    for key, value, headers in records:
        if singly.append(timestamp=5_000, key=key, value=value, headers=list(headers or ())) is None:
            break
        fit += 1
    assert 9 < fit < len(records)
    assert fill(filled, records, 0, 5_000) == fit
    assert (filled.record_count(), filled.size()) == (singly.record_count(), singly.size())
    assert bytes(filled._build()) == bytes(singly._build())
    large = BatchBuilder(64, 0, is_transactional=1)
    assert fill(large, records, 100, 5_000) == 101  # the first record is taken, whatever its size


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(_batch([b"abc"]))
    data[-2] ^= 0xFF
    with pytest.raises(Exception, match="checksum"):
        _read(bytes(data))


@pytest.mark.parametrize(
    ("failure", "tainted"), [(KafkaConnectionError(), True), (RequestTimedOutError(), True), (None, False)]
)
def test_a_transaction_call_without_an_answer_taints_its_producer(failure: Exception | None, tainted: bool) -> None:
    """A real handler of aiokafka; only the network below it is made to fail."""
    taint.install()

    class _Client:
        async def send(self, *_: Any, **__: Any) -> Any:
            if failure is not None:
                raise failure
            return type("Answer", (), {"error_code": 0})()

    class _Transactions:
        transactional_id, producer_id, producer_epoch = "t", 1, 0

        def complete_transaction(self) -> None:
            """The answer was good."""

    class _Sender:
        client, _txn_manager, _retry_backoff = _Client(), _Transactions(), 0.0

        def _coordinator_dead(self, kind: Any) -> None:
            """aiokafka looks for the coordinator again."""

    producer: Any = type("Producer", (), {"_sender": _Sender()})()
    asyncio.run(EndTxnHandler(producer._sender, True).do(0))
    assert taint.is_tainted(producer) is tainted


def _app(folder: Path) -> StageApp:
    text = "topology: t\nschemas: {R: {n: int}}\nnodes:\n  in: {kind: source, topic: in, schema: R}\n"
    plan = make_plan(parse_topology(text + "  out: {kind: sink, input: in, topic: out}\n"))
    return StageApp(plan, load_settings(state_dir=folder), StageAssignor(plan, "http://w"))


def test_faust_opens_neither_a_web_server_nor_a_producer(tmp_path: Path) -> None:
    app = _app(tmp_path)
    strategy = app.boot_strategy
    assert not app.conf.web_enabled
    assert list(strategy.kafka_producer()) == []
    assert list(strategy.web_server()) == []


class _Host:
    """What the hooks tell the owner of the tasks."""

    def __init__(self) -> None:
        self.revoked, self.failures = 0, list[BaseException]()

    async def on_revoked(self) -> None:
        self.revoked += 1

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


def test_a_service_of_faust_that_fails_ends_the_worker_with_what_it_was(tmp_path: Path) -> None:
    """Fetching without permission: Faust goes on without its consumer, and nobody would know."""

    async def main() -> None:
        app: Any = _app(tmp_path)
        app.host = host = _Host()
        error = TopicAuthorizationFailedError("in")
        await app._fetcher.crash(error)
        assert host.failures == [error]

    asyncio.run(main())


class _WithoutVersions(AIOKafkaConnection):  # type: ignore[misc]
    async def _do_version_lookup(self) -> None:
        """The server of this test is no Kafka."""


def test_a_connection_over_tls_ends_without_the_brokers_last_word(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.give("broker"))
    last_word.install()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet_and_say_no_more() -> None:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True):
                heard.wait(60)

        async def main() -> None:
            connection = _WithoutVersions(
                "127.0.0.1",
                listening.getsockname()[1],
                ssl_context=ssl.create_default_context(cafile=str(authority.certificate)),
                security_protocol="SSL",
            )
            await connection.connect()
            await asyncio.wait_for(connection.close(), 20)

        heard = threading.Event()
        server = threading.Thread(target=greet_and_say_no_more)
        server.start()
        try:
            asyncio.run(main())
        finally:
            heard.set()
            server.join()


def test_a_consumer_that_has_not_reached_kafka_yet_has_no_errors_of_its_group() -> None:
    async def main() -> None:
        consumer = aiokafka.AIOKafkaConsumer(group_id="g")
        thread = SimpleNamespace(_consumer=consumer, thread_loop=asyncio.get_running_loop())
        await group.check(thread, "g", load_settings())
        thread._consumer = None
        await group.check(thread, "g", load_settings())

    asyncio.run(main())


def test_a_rebalance_during_a_stop_leaves_the_consumer_to_its_thread(tmp_path: Path) -> None:
    """Faust would close its connections from the main thread, whose loop they do not belong to."""

    async def main() -> None:
        app: Any = _app(tmp_path)
        app.host = host = _Host()
        app.consumer._thread._consumer = consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")
        app._stopped.set()
        await app._on_partitions_revoked(set())
        assert (host.revoked, consumer._closed) == (1, False)
        await consumer.stop()

    asyncio.run(main())
