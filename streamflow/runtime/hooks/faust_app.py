"""Private hooks into Faust: its transport fed with chunks, and its rebalance callbacks.

What stays Faust's: the app's life, agents, streams, the conductor, pressure on full buffers. What is replaced:

    AIOKafkaConsumerThread._create_worker_consumer   our isolation level, assignor and bounds
    AIOKafkaConsumerThread._fetch_records            one chunk per partition instead of records
    Consumer.getmany                                 one message per chunk, stamped with the assignment's generation
    Consumer._getmany                                only partitions whose task is ready, and whose turn it is
    Consumer.perform_seek, commit, _add_gap          nothing: tasks own positions and offsets
    App._on_partitions_revoked, _on_partitions_assigned, _crash
    App._on_rebalance_when_stopped                   nothing: it closed the consumer from a thread that is not its own
    AIOKafkaConsumerThread.on_thread_stop            within a bound, and the group is told (parting.py)
    BootStrategy                                     no producer
    TableManager.on_start                            no second of waiting for tables, there are none

Pinned to faust-streaming 0.15; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiokafka
import faust
from aiokafka.consumer.fetcher import FetchResult
from faust.app.base import BootStrategy
from faust.events import Event
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streamflow.model.chunk import Chunk
from streamflow.plan.critical_path import critical_path
from streamflow.plan.plan import EntryKind, Plan
from streamflow.runtime.assignor import StageAssignor
from streamflow.runtime.connection import connection
from streamflow.runtime.execution_order import ExecutionOrder
from streamflow.runtime.hooks import drain, parting, reading
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

_POLL_S = 0.1
#: A rebalance stops everybody until the last member has heard of it, with its next heartbeat.
_HEARTBEAT_MAX_MS = 1_000
#: Leaving the group may have to wait for a rebalance; whoever is cut is missed by it for a session time-out.
_LEAVE_S = 10.0
#: A consumer that fetches nothing, because it is paused or has no partition, stays in the group; whether one that has
#: work is stuck, the watchdog knows.
_NEVER_MS = 1 << 50


#: A topic that was left until others had their turn is asked for only when the broker has answered for those.
_LEVELS_WAIT_MS = 50


class Host(Protocol):
    """What the hooks call: the owner of the tasks."""

    #: (topic, partition) pairs that may be fetched now.
    ready: set[tuple[str, int]]

    async def on_revoked(self) -> None:
        """All partitions are taken away; some may come back."""

    async def on_assigned(self, assigned: set[tuple[str, int]], generation: int) -> None:
        """These partitions are ours now."""

    def on_full(self, topic: str, partition: int) -> None:
        """So many chunks of a partition wait that it is not fetched any more for now."""

    def fail(self, error: BaseException) -> None:
        """The worker cannot go on."""


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Fetches chunks on the consumer's own thread and loop."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        app: StageApp = self.app
        settings = app.settings
        self._assignor = app.stage_assignor
        return aiokafka.AIOKafkaConsumer(
            client_id=f"{settings.application}-{app.plan.identity}",
            group_id=app.conf.id,
            group_instance_id=settings.instance_id or None,
            **connection(settings),
            client_rack=settings.client_rack or None,
            partition_assignment_strategy=[app.stage_assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=settings.fetch_max_bytes,
            fetch_max_wait_ms=_LEVELS_WAIT_MS if app.has_levels else 500,
            request_timeout_ms=max(40_000, settings.session_timeout_ms + 5_000),
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=min(_HEARTBEAT_MAX_MS, settings.session_timeout_ms // 5),
            rebalance_timeout_ms=max(10_000, settings.session_timeout_ms),
            max_poll_interval_ms=_NEVER_MS,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> dict[Any, Chunk]:
        fetcher, subscription = consumer._fetcher, consumer._subscription
        if not self.consumer.flow_active or consumer._closed or fetcher._closed:
            return {}
        app: StageApp = self.app
        with subscription.fetch_context():
            chunks = self._take(fetcher, active_partitions, app, consumer)
            if chunks or subscription.reassignment_in_progress:
                return chunks
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=min(timeout or _POLL_S, _POLL_S))
            if not done:
                waiter.cancel()
                return {}
            waiter.result()
            if not self.consumer.flow_active or subscription.reassignment_in_progress:
                return {}
            return self._take(fetcher, active_partitions, app, consumer)

    @staticmethod
    def _take(fetcher: Any, active: Any, app: "StageApp", consumer: Any) -> dict[Any, Chunk]:
        chunks: dict[Any, Chunk] = {}
        generation = consumer._coordinator.generation
        for tp in [tp for tp in fetcher._records if tp in active]:
            result = fetcher._records.pop(tp)
            fetcher._notify(fetcher._wait_consume_future)
            if type(result) is not FetchResult:
                result.check_raise()
                continue
            shape = app.entry_shapes[tp.topic]
            chunk = drain.take(
                result,
                tp.topic,
                tp.partition,
                marks=shape.marks,
                timestamps=shape.timestamps,
                traces=app.traced,
                headers=shape.headers,
            )
            if chunk is not None:
                chunk.generation = generation
                chunks[tp] = chunk
        return chunks

    async def commit(self, tps: Mapping[TP, int]) -> bool:
        """Tasks commit offsets in their transactions."""
        return True

    async def on_thread_stop(self) -> None:
        """The consumer before the queue of calls, which a rebalance that is under way may need."""
        parting.prepare(self._consumer, self.app.settings)
        await disconnect(self._consumer, within_s=_LEAVE_S)
        await super().on_thread_stop()


class ChunkConsumer(driver.Consumer):
    """Hands chunks to Faust as messages."""

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        ready = self.app.host.ready
        active = {tp for tp in active_partitions or () if (tp.topic, tp.partition) in ready}
        if not active:
            await asyncio.sleep(_POLL_S / 2)
            return {}
        if self.app.order is not None:
            active = self.app.order.first(active, self._behind, time.monotonic())
        return await super()._getmany(active, timeout)

    def _behind(self, tp: TP) -> int:
        """Records that are known and not fetched, up to the first of a transaction that is open: so many can be."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None or not state.has_valid_position or state.lso is None:
            return 0
        return int(state.lso - state.position)

    def on_buffer_full(self, tp: TP) -> None:
        """A stage has its buffer of chunks full: Faust stops fetching the partition until it is not."""
        super().on_buffer_full(tp)
        self.app.host.on_full(tp.topic, tp.partition)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """One message per partition chunk."""
        chunks, _active = await self._wait_next_records(timeout)
        if not chunks or self.should_stop or not self.flow_active:
            return
        for tp, chunk in chunks.items():
            place = TP(tp.topic, tp.partition)
            yield (
                place,
                ConsumerMessage(
                    tp.topic, tp.partition, chunk.next_offset - 1, 0.0, 0, [], None, chunk, None, 0, 0, place,
                    generation_id=chunk.generation,
                ),
            )  # fmt: skip

    async def perform_seek(self) -> None:
        """Tasks seek to their own positions when they are open."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Tasks commit offsets in their transactions."""
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets jump from chunk to chunk; nothing is acknowledged through Faust."""


class ChunkTransport(driver.Transport):
    """Faust's transport with our consumer."""

    Consumer = ChunkConsumer


class ChunkSchema(faust.Schema):
    """Passes the chunk of a message through."""

    def compile(self, app: Any, **kwargs: Any) -> Any:
        """Decoder of messages: an event whose value is the chunk."""

        async def decode(message: Any, *, propagate: bool = False) -> Event:
            return Event(app, None, message.value, {}, message)

        return decode


class EntryShape:
    """Which columns a topic's chunks need."""

    def __init__(self, marks: bool, timestamps: bool) -> None:
        self.marks, self.timestamps, self.headers = marks, timestamps, False


class ConsumerOnly(BootStrategy):
    """Tasks have producers of their own; Faust's would be one more connection, and know nothing of TLS and users."""

    enable_kafka_producer = False


class NoTables(TableManager):
    """Tasks have stores of their own; Faust waits a second for tables that agents may declare."""

    async def on_start(self) -> None:
        """What Faust does after that second; the group is joined behind it."""
        await self._update_channels()
        await self.recovery.start()


class StageApp(faust.App):
    """The Faust app of one topology on one worker. `host` must be set before it starts."""

    host: Host
    BootStrategy = ConsumerOnly

    def __init__(self, plan: Plan, settings: Settings, assignor: StageAssignor, **options: Any) -> None:
        drain.install()
        reading.install()
        self.plan, self.settings, self.stage_assignor = plan, settings, assignor
        self.traced = bool(settings.otlp_endpoint)
        self.has_levels = any(entry.level for stage in plan.stages for entry in stage.entries)
        self.order = ExecutionOrder(critical_path(plan)) if settings.critical_path_first else None
        self.entry_shapes: dict[str, EntryShape] = {}
        for entry in (each for stage in plan.stages for each in stage.entries):
            repartition = entry.kind is EntryKind.REPARTITION
            shape = self.entry_shapes.setdefault(entry.topic, EntryShape(repartition, False))
            shape.timestamps |= entry.event_time is None and not repartition
            shape.headers |= entry.execution_header
        super().__init__(
            f"{settings.application}.{plan.identity}",
            broker=[f"kafka://{server}" for server in settings.brokers.split(",")],
            store="memory://",
            TableManager=NoTables,
            datadir=str(settings.state_dir / "faust"),
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=8,
            stream_recovery_delay=0.0,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=settings.session_timeout_ms / 1_000,
            broker_request_timeout=max(40.0, settings.session_timeout_ms / 1_000 + 5),
            **options,
        )
        self.transport = ChunkTransport(self.conf.broker, self)

    async def _on_partitions_revoked(self, revoked: Any) -> None:
        await self.host.on_revoked()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        await super()._on_partitions_assigned(assigned, generation_id)
        await self.host.on_assigned({(tp.topic, tp.partition) for tp in assigned}, generation_id)

    def _on_rebalance_when_stopped(self) -> None:
        """The consumer is being stopped, on its own thread."""

    def _crash(self, reason: BaseException) -> None:
        """A service of Faust failed, this or one below it: the worker ends, recovery starts from what is committed.

        Faust would log it, close the consumer's loop and stay, deaf; whoever met the closed loop first would be taken
        for the cause.
        """
        if not self.should_stop:
            self.host.fail(reason)
        super()._crash(reason)
