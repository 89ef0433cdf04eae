"""Judges rules and tells notifiers: one worker of the namespace, which has the metrics topic's partition.

    partition is mine ─► Term: fence predecessors ─► read the bus up to the end of then ─► read samples ─► rounds
    round: samples, events ─► fold ─► judge, every interval ─► one transaction ─► fold ─► tell who has not been told

Nothing is committed to the group. A term ends with the partition, with another one's fence, or with a failure of Kafka;
what was not said then is found again by the next (decision 0047).
"""

import asyncio
import logging
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.alerts.config import AlertsConfig
from streamflow.alerts.evaluator import Evaluator, Move
from streamflow.alerts.routing import due
from streamflow.alerts.telling import Telling
from streamflow.bus.alert_events import ALERTS_KEY
from streamflow.bus.alert_table import AlertTable
from streamflow.bus.event import HEADERS, new_event, plain_event
from streamflow.bus.event_types import checked
from streamflow.bus.topics import events_topic, metrics_topic
from streamflow.calls.caller import Outside
from streamflow.errors import Fenced, StreamflowError
from streamflow.model.partitioner import partition_of
from streamflow.runtime.connection import connection
from streamflow.runtime.fenced_producer import FencedProducer, Send
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.ending import disconnect, end
from streamflow.runtime.sample_stream import points_in
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

_ROUND_S = 0.25
#: How often it is looked who has to be told; less often where that takes long (100 ms with 10,000 open alerts), so that
#: it takes 2 % of the process at most.
_TELL_S, _TELL_SHARE = 1.0, 0.02
_BACKOFF_S = 2.0


class Alerting:
    """A worker's companion. `table`: None while another worker judges."""

    def __init__(self, settings: Settings, config: AlertsConfig, outside: Outside, worker: str) -> None:
        drain.install()
        self._settings, self._config, self._worker = settings, config, worker
        self.telling = Telling(config.notifiers, outside, settings.namespace)
        self._task: asyncio.Task[None] | None = None
        self._term: Term | None = None

    @property
    def table(self) -> AlertTable | None:
        """What this worker tells of, while it judges."""
        return None if self._term is None else self._term.table

    async def start(self) -> None:
        """Open the notifiers, and begin in the background. Raises TopologyError for a secret that is not there."""
        await self.telling.open()
        self._task = asyncio.create_task(self._run(), name="alerts")

    async def stop(self) -> None:
        """Leave the group: another worker goes on at once."""
        await end(self._task)
        await self.telling.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._judge_on()
            except (KafkaError, StreamflowError, OSError) as error:
                log.warning("alerts are not judged here at the moment, in %.0f s again: %r", _BACKOFF_S, error)
            except Exception:  # a fault of ours must not end the watch for the faults of others
                log.exception("alerts are not judged here at the moment, in %.0f s again", _BACKOFF_S)
            await asyncio.sleep(_BACKOFF_S)

    async def _judge_on(self) -> None:
        samples = AIOKafkaConsumer(
            metrics_topic(self._settings),
            **connection(self._settings),
            group_id=f"{self._settings.namespace}.alerts",  # no topology, and so none of their groups, is called so
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=self._settings.session_timeout_ms,
        )
        try:
            await samples.start()
            while True:
                if not samples.assignment():
                    await self._end_term()
                    await samples.getmany(timeout_ms=int(_ROUND_S * 1_000))
                elif self._term is None:
                    self._term = Term(self._settings, self._config, self._worker, samples)
                    await self._term.begin()
                    log.info("this worker judges the alerts of %s", self._settings.namespace)
                else:
                    await self._term.round(self.telling)
        except Fenced:
            log.info("another worker judges the alerts of %s", self._settings.namespace)
        finally:
            await self._end_term()
            await disconnect(samples)

    async def _end_term(self) -> None:
        self.telling.give_up()
        if self._term is not None:
            term, self._term = self._term, None
            await term.end()


class Term:
    """The time that one worker judges. samples: a consumer that has the partition, of uncommitted reads."""

    def __init__(self, settings: Settings, config: AlertsConfig, worker: str, samples: AIOKafkaConsumer) -> None:
        self._settings, self._config, self._samples, self._worker = settings, config, samples, worker
        self.table = AlertTable()
        self._evaluator = self._new_evaluator()
        self._place = TopicPartition(metrics_topic(settings), 0)
        self._topic = events_topic(settings)
        self._producer = FencedProducer(settings, f"sf.{settings.namespace}.alerts")
        self._bus = AIOKafkaConsumer(
            **connection(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._partition = 0
        self._position = 0
        self._judged_s = self._tell_at_s = 0.0

    def _new_evaluator(self) -> Evaluator:
        rules = self._config.with_rules(self.table.rules)
        return Evaluator(rules, self._settings.namespace, self._settings.alerts_interval_ms)

    async def begin(self) -> None:
        """Fence, then read everything. Raises BrokerUnavailable, KafkaError."""
        await self._producer.start()
        self._partition = partition_of(ALERTS_KEY.encode(), await self._producer.partition_count(self._topic))
        place = TopicPartition(self._topic, self._partition)
        # The end of what is written, not of what is committed: an older transaction of a task may hide a committed one.
        end = (await self._samples.end_offsets([place]))[place]
        await self._bus.start()
        self._bus.assign([place])
        self._position = (await self._bus.beginning_offsets([place]))[place]
        self._bus.seek(place, self._position)
        while self._position < end:
            await self._follow()
        self._evaluator = self._new_evaluator()
        await self._read_samples()

    async def end(self) -> None:
        """Disconnect."""
        await asyncio.gather(disconnect(self._bus), self._producer.stop())

    async def _follow(self) -> None:
        """Fold what has come to the bus."""
        for pairs, position in (await drain.next_pairs(self._bus, _ROUND_S)).values():
            self._position = position
            for _, value in pairs:
                if b'"ALERT_' in (value or b""):
                    self._fold(plain_event(value))

    def _fold(self, event: dict[str, object]) -> None:
        try:
            if event:
                self.table.fold(event)
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("an event of alerts is none of ours: %s", event.get("id"))

    async def _read_samples(self) -> None:
        """As far back as rules look, up to the end of now."""
        evaluator, place, now_ms = self._evaluator, self._place, int(time.time() * 1_000)
        end = (await self._samples.end_offsets([place]))[place]
        found = await self._samples.offsets_for_times({place: now_ms - evaluator.history.keep_ms})
        self._samples.seek(place, end if found[place] is None else found[place].offset)
        while await self._samples.position(place) < end:
            await self._take_samples()
        await asyncio.to_thread(evaluator.warm, now_ms)

    async def _take_samples(self) -> None:
        for records in (await self._samples.getmany(timeout_ms=int(_ROUND_S * 1_000))).values():
            now_ms = int(time.time() * 1_000)
            for record in records:
                for at_ms, metric, labels, value in points_in(record.value, now_ms):
                    self._evaluator.history.add(at_ms, metric, labels, value)

    async def round(self, telling: Telling) -> None:
        """One turn. Raises Fenced, BrokerUnavailable, KafkaError."""
        rules = self.table.rules
        await asyncio.gather(self._take_samples(), self._follow())
        if self.table.rules != rules:
            self._evaluator = self._new_evaluator()
            await self._read_samples()
        now_ms = int(time.time() * 1_000)
        moves = telling.take()
        if time.monotonic() - self._judged_s >= self._settings.alerts_interval_ms / 1_000:
            self._judged_s = time.monotonic()
            # In a thread, as rules may be many, and given over HTTP; nothing else is done with the table meanwhile.
            moves += await asyncio.to_thread(self._evaluator.evaluate, self.table, now_ms)
        if moves:
            await self._say(moves)
        began_s = time.monotonic()
        if began_s >= self._tell_at_s:
            telling.begin(await asyncio.to_thread(due, self.table, self._config.routes, now_ms))
            self._tell_at_s = began_s + max(_TELL_S, (time.monotonic() - began_s) / _TELL_SHARE)

    async def _say(self, moves: Iterable[Move]) -> None:
        """One transaction, and what it changes."""
        values = []
        for move in moves:
            schema, data = checked(move.kind, move.data)
            event = new_event(
                self._worker, move.kind, move.subject, schema, data, severity=move.severity, partitionkey=ALERTS_KEY
            )
            values.append(event.encode())
        now_ms = int(time.time() * 1_000)

        async def fill(send: Send) -> None:
            await send(self._topic, self._partition, [(ALERTS_KEY.encode(), each, HEADERS, now_ms) for each in values])

        await self._producer.transact(fill)
        for value in values:
            self._fold(plain_event(value))
