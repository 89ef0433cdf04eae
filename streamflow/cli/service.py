"""The process behind the HTTP application: joins web's ports to the runtime's objects."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition
from fastapi import FastAPI

from streamflow.bus.feed import EventFeed
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME
from streamflow.cli.access import AsWorker
from streamflow.cli.connect import between_workers
from streamflow.cli.controls import WorkerControls
from streamflow.cli.model_metrics import models_view, show_models
from streamflow.cli.node_statistics import NodeStatistics, reduction
from streamflow.cli.snapshot_desk import WorkerSnapshots
from streamflow.cli.stream_figures import stream_figures
from streamflow.engine.global_table import FollowedTable
from streamflow.engine.history import History
from streamflow.engine.table_readers import reader_of
from streamflow.errors import OwnerUnreachable
from streamflow.kit.indicators import indicators
from streamflow.metrics.families import Metrics
from streamflow.metrics.performance import Performance, Point
from streamflow.metrics.samples import points_of
from streamflow.model.keyed_publish import Published
from streamflow.model.outcome import Headers
from streamflow.model.position import Positions
from streamflow.nodes.registry import KINDS
from streamflow.plan.describe import describe
from streamflow.plan.placement import placed
from streamflow.plan.plan import EntryKind, Plan, Stage, TablePlan
from streamflow.query.reader import TableReader
from streamflow.query.standing import TaskStanding
from streamflow.runtime.blocked import waiting_tasks
from streamflow.runtime.connection import connection
from streamflow.runtime.dependencies import dependencies
from streamflow.runtime.event_feed import KafkaEventFeed
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.hosted_task import HostedTask, TaskState
from streamflow.runtime.keyed_publisher import KeyedPublisher
from streamflow.runtime.letters import KafkaLetters
from streamflow.runtime.outcomes import OutcomeFollower
from streamflow.runtime.profiler import Profiler, shown
from streamflow.runtime.publisher import Publisher
from streamflow.runtime.traces import Traces
from streamflow.runtime.watchdog import Verdict
from streamflow.runtime.worker import Worker
from streamflow.topology.spec import TopologySpec
from streamflow.web.app import HttpServer, create_app
from streamflow.web.executions import KEPT_S, Executions
from streamflow.web.identity import OPEN, Access
from streamflow.web.keyed_publishing import FORWARD_S
from streamflow.web.limits import PublishLimits
from streamflow.web.live.hub import LiveLimits, LiveTables
from streamflow.web.ports import CheckpointListener, Controls, LocalTable, SampleReader, Snapshots
from streamflow.web.server_sent_events import HEARTBEAT_S
from streamflow.web.tables import ASK_S

if TYPE_CHECKING:  # most workers judge no alerts
    from streamflow.alerts.config import AlertsConfig
    from streamflow.runtime.alerting import Alerting

_STEP_S = 0.01
#: Two heartbeats of another worker.
_SILENCE_S = 2 * HEARTBEAT_S


class WorkerService:
    """Implements `web.ports.Service` over a worker; also the worker's companion that serves HTTP."""

    def __init__(self, spec: TopologySpec, worker: Worker, server: HttpServer, access: Access = OPEN) -> None:
        self._access = access
        self._spec, self._worker, self._server = spec, worker, server
        self.plan: Plan = worker.plan
        self.url = server.url
        self.events = worker.events
        self._feed = None if worker.settings.events_detail == "off" else KafkaEventFeed(worker.settings)
        self.feed: EventFeed | None = self._feed
        self._publisher = Publisher(worker.settings)
        authorities = worker.settings.http_ca_file
        self._client = between_workers(authorities, httpx.Limits(max_connections=100), ASK_S)
        # Connections that stay: as many as there are partitions of followed tables elsewhere.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._streams = between_workers(authorities, limits)
        self._app: FastAPI | None = None
        self.executions = Executions()
        self.letters = KafkaLetters(self.plan, worker.settings, worker.partition_counts, worker.record_limits, self.url)
        self._keyed = KeyedPublisher(self.plan, worker.settings, worker.partition_counts, worker.record_limits)
        self._outcomes = OutcomeFollower(worker.settings, self.plan.outcome_topic, KEPT_S, self.executions.add)
        self.controls: Controls = WorkerControls(worker)
        self.snapshots: Snapshots = WorkerSnapshots(worker)
        settings = worker.settings
        self.traces = Traces(settings.otlp_endpoint, settings.trace_ratio, self.plan.topology, self.url)
        self._metrics, self._statistics = Metrics(self.plan.unmetered), NodeStatistics(worker.calls.guarded)
        self._metrics.declared.of = self.plan.topology, indicators
        # Parts of a foreign_join, which nobody declares, are of no kind.
        nodes = ((stage.name, node) for stage in self.plan.stages for node in stage.nodes if node.kind in KINDS)
        told = ((stage, node.name, node.kind, KINDS[node.kind].category) for stage, node in nodes)
        self._metrics.info.fill(self.plan.topology, told)
        self._performance = Performance()
        #: What judges alerts, and by what, where that is on.
        self.alerts_config: AlertsConfig | None = None
        self.alerting: Alerting | None = None
        self.samples: SampleReader | None = None
        #: Moments of every source with a timer on this worker, by node.
        self.timer_counts: Mapping[str, Mapping[str, int]] = {}
        self._readers: dict[str, TableReader] = {}
        self._worked_s = 0.0
        self._admin = AIOKafkaAdminClient(**connection(worker.settings))
        self._offsets = AIOKafkaConsumer(**connection(worker.settings), enable_auto_commit=False)
        worker.on_commit(self._count_commit)
        worker.on_chunk(self._count_chunk)
        settings = worker.settings
        self._live = LiveTables(self, LiveLimits(settings.live_max_clients, settings.live_interval_ms))

    async def start(self) -> None:
        """Connect and serve."""
        await self._publisher.start()
        await self._admin.start()
        await self._offsets.start()
        settings = self._worker.settings
        limits = PublishLimits(settings.body_max_bytes, settings.batch_max_events, settings.topic_max_events_per_s)
        self._app = create_app(self, limits, self._live, self._access)
        self._server.serve(self._app)

    async def stop(self) -> None:
        """Stop serving and disconnect, however far `start` came."""
        await self._live.stop()
        if self._app is not None:
            self._app.state.event_clients.close()
        await self._server.stop()
        await asyncio.to_thread(self.traces.stop)
        if self._app is not None:
            self._app.state.refused.flush()
        await self._client.aclose()
        await self._streams.aclose()
        readers = [self._outcomes] if self._feed is None else [self._outcomes, self._feed]
        writers = [self._keyed, self._publisher]
        await asyncio.gather(*(each.stop() for each in (*readers, *writers)), disconnect(self._offsets, self._admin))

    # -- tables -------------------------------------------------------------------------------------------------------

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic of the plan."""
        return self._worker.partition_counts[topic]

    def reader(self, stage: Stage, table: TablePlan) -> TableReader:
        """Reader of a table's rows, made once."""
        if table.name not in self._readers:
            self._readers[table.name] = reader_of(table, stage.keeper(table))
        return self._readers[table.name]

    def local(self, stage: Stage, partition: int) -> LocalTable | float | None:
        """Own task's table; its restore ratio while restoring; None when it is not ours."""
        task = self._worker.task(stage.name, partition)
        if task is None or task.state is TaskState.CLOSED:
            return None
        if task.store is None or task.committed_watermark_ms is None:
            return task.restore.ratio
        return LocalTable(task.store, task.committed_watermark_ms, task.reflected_positions)

    def global_table(self, name: str) -> FollowedTable:
        """A global table of the plan."""
        return self._worker.global_tables.view(name)

    def standing(self, stage: str, partition: int) -> TaskStanding | None:
        """Where an own task stands in time, with the ends of its inputs as far as the consumer knows them."""
        task = self._worker.task(stage, partition)
        if task is None or task.state is TaskState.CLOSED:
            return None
        if task.state in (TaskState.OPENING, TaskState.RESTORING):
            missing = f"it is being restored, {task.restore.ratio:.0%} done"
            return TaskStanding(stage, partition, worker=self.url, missing=missing)
        made = task.task.standing()
        ends = {entry.topic: self._end((entry.topic, partition)) for entry in made.entries}
        entries = tuple(replace(entry, end=ends[entry.topic]) for entry in made.entries)
        return replace(made, worker=self.url, entries=entries)

    def history(self, stage: str, partition: int) -> History | None:
        """What an own task remembers about time."""
        task = self._worker.task(stage, partition)
        return task.task.history if task is not None and task.is_open else None

    def owner(self, stage: Stage, partition: int) -> str | None:
        """Address of the worker that has a task."""
        return self._worker.assignor.owners.get((stage.name, partition))

    async def wait_until_reflected(
        self, stage: Stage, partitions: list[int], token: Positions, wait_s: float
    ) -> tuple[Positions, int]:
        """Wait for the token, translated into positions of the stage's own inputs; those, and what is missing."""
        deadline = time.monotonic() + wait_s
        own = {topic: ends for topic, ends in token.items() if topic in stage.input_topics}
        for entry in stage.entries:
            if entry.kind is EntryKind.REPARTITION and entry.topic not in own:
                upstream = self.plan.stage(entry.producer_stage)
                distance = await self._wait_committed(upstream, token, deadline)
                if distance > 0:
                    return {}, distance
                own[entry.topic] = await self._ends(entry.topic, partitions)
        return own, await self._wait_own(stage, partitions, own, deadline)

    async def _wait_own(self, stage: Stage, partitions: list[int], own: Positions, deadline: float) -> int:
        """Wait until own stores reflect positions; other workers wait for theirs themselves."""
        while True:
            distance = 0
            for topic, ends in own.items():
                for partition in partitions:
                    local = self.local(stage, partition)
                    if isinstance(local, LocalTable):
                        distance += max(0, ends.get(partition, 0) - local.positions.get((topic, partition), 0))
            if distance == 0 or time.monotonic() >= deadline:
                return distance
            await asyncio.sleep(_STEP_S)

    async def _wait_committed(self, stage: Stage, token: Positions, deadline: float) -> int:
        wanted = {
            TopicPartition(topic, partition): end
            for topic, ends in token.items()
            if topic in stage.input_topics
            for partition, end in ends.items()
        }
        while True:
            distance = await self._distance(stage, wanted)
            if distance == 0 or time.monotonic() >= deadline:
                return distance
            await asyncio.sleep(_STEP_S)

    async def _distance(self, stage: Stage, wanted: dict[TopicPartition, int]) -> int:
        """Records missing: own tasks are asked directly, others by their committed offsets."""
        missing, remote = 0, {}
        for tp, end in wanted.items():
            local = self.local(stage, tp.partition)
            if isinstance(local, LocalTable):
                missing += max(0, end - local.positions.get((tp.topic, tp.partition), 0))
            else:
                remote[tp] = end
        if remote:
            group = f"{self._worker.settings.application}.{self.plan.identity}"
            committed = await self._admin.list_consumer_group_offsets(group, partitions=list(remote))
            missing += sum(max(0, end - max(0, committed[tp].offset)) for tp, end in remote.items())
        return missing

    async def _ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        ends = await self._offsets.end_offsets([TopicPartition(topic, partition) for partition in partitions])
        # The last record of a transaction is its marker, which nobody reads: one less is enough.
        return {tp.partition: max(0, end - 1) for tp, end in ends.items()}

    async def ask(self, url: str, path: str, parameters: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """GET at another worker."""
        try:
            response = await self._client.get(url + path, params=dict(parameters), auth=self._as_worker(url))
            return response.status_code, response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise OwnerUnreachable(str(error) or type(error).__name__) from error

    @asynccontextmanager
    async def follow(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, AsyncIterator[str]]]:
        """GET at another worker whose answer does not end."""
        timeout = httpx.Timeout(ASK_S, read=_SILENCE_S)
        try:
            async with self._streams.stream(
                "GET",
                url + path,
                params=dict(parameters),
                headers=dict(headers),
                timeout=timeout,
                auth=self._as_worker(url),
            ) as answer:
                yield answer.status_code, answer.aiter_lines()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise OwnerUnreachable(str(error) or type(error).__name__) from error

    def on_checkpoint(self, listener: CheckpointListener) -> None:
        """Be told of checkpoints of own tasks."""

        def tell(task: HostedTask, checkpoint: Checkpoint, _took_s: float) -> None:
            if task.store is not None:
                listener(task.stage.name, task.partition, task.store, checkpoint.tables)

        self._worker.on_commit(tell)

    def worked_s(self) -> float:
        """Seconds that own tasks have worked on events so far."""
        return self._worked_s

    def version(self, stage: str, partition: int) -> str:
        """Digest of what is committed of an own task."""
        task = self._worker.task(stage, partition)
        return "" if task is None or task.committed_watermark_ms is None else task.version

    def _as_worker(self, url: str) -> AsWorker | None:
        """How another worker knows that a worker asks; None where nobody has to be known."""
        return AsWorker(self._access.worker_secret, url) if self._access.worker_secret else None

    # -- publish ------------------------------------------------------------------------------------------------------

    @property
    def publishing_is_busy(self) -> bool:
        """Whether a publish should come back later."""
        return self._publisher.is_busy or self._keyed.is_busy

    async def publish(
        self,
        topic: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        each: Sequence[Headers] = (),
    ) -> dict[int, int]:
        """Append records, acknowledged by all replicas."""
        return await self._publisher.publish(topic, records, headers, partition, each)

    def publish_owner(self, key: str) -> str | None:
        """Who has the first stage's partition of the key's number: spreads the shards like the tasks."""
        return self._worker.assignor.owners.get((self.plan.stages[0].name, self._keyed.shard_of(key)))

    async def publish_once(
        self,
        topic: str,
        key: str,
        digest: bytes,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Published:
        """Append records unless that was done under the idempotency key."""
        return await self._keyed.publish(topic, key, digest, records, headers)

    async def forward(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """POST at another worker."""
        given, known = dict(parameters), dict(headers)
        try:
            answer = await self._client.request(
                "POST",
                url + path,
                params=given,
                headers=known,
                content=body,
                auth=self._as_worker(url),
                timeout=FORWARD_S,
            )
        except httpx.HTTPError as error:
            raise OwnerUnreachable(str(error) or type(error).__name__) from error
        return answer.status_code, answer.headers, answer.content

    async def follow_outcomes(self) -> None:
        """Read the outcome topic from now on."""
        await self._outcomes.follow()

    # -- looks --------------------------------------------------------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """Everything about the topology that this worker knows."""
        tasks = [self._task_view(task) for task in self._worker.host.tasks.values()]
        return {
            "spec": self._spec.model_dump(mode="json"),
            "plan": describe(self.plan),
            "state": self.controls.state,
            "control": self.controls.standing(),
            "worker": self.url,
            "calls": self._calls(),
            "models": models_view(self._worker),
            "global_tables": {table.name: self._table_view(table.name) for table in self.plan.global_tables},
            "tasks": sorted(tasks, key=lambda view: (view["stage"], view["partition"])),
            "placement": self._placement(),
            "owners": {
                f"{stage}/{partition}": url for (stage, partition), url in sorted(self._worker.assignor.owners.items())
            },
        }

    def _placement(self) -> dict[str, Any]:
        """Who can run which stage, and why, as seen from this worker."""
        assignor = self._worker.assignor
        others = {url: has for url, has in assignor.having.items() if url != self.url}
        return {
            "capabilities": sorted(assignor.has),
            "others": others,
            "stages": [each.shown() for each in placed(self.plan, assignor.has, others)],
        }

    def _table_view(self, name: str) -> dict[str, Any]:
        found = self.global_table(name)
        table = found.table
        counts = {"rows": len(table.rows), "bytes": table.size_bytes, "bad": table.bad_count}
        return {**counts, "lag": found.lag, "ratio": round(found.ratio, 3)}

    def _task_view(self, task: HostedTask) -> dict[str, Any]:
        watermark = task.committed_watermark_ms
        lags = self._lags(task)
        counters = task.task.counters.by_node() if task.is_open else {}
        return {
            "stage": task.stage.name,
            "partition": task.partition,
            "state": task.state.value,
            "positions": {f"{topic}/{p}": offset for (topic, p), offset in task.reflected_positions.items()},
            "lag": None if None in lags.values() else sum(lag or 0 for lag in lags.values()),
            "watermark": None if watermark in (None, NO_TIME) else watermark,
            "restore": {"ratio": task.restore.ratio, "remaining_s": task.restore.remaining_s},
            "stream": stream_figures(task) if task.is_open else None,
            "nodes": {name: self._statistics.shown(task.stage.name, name, each) for name, each in counters.items()},
        }

    def _lags(self, task: HostedTask) -> dict[tuple[str, int], int | None]:
        lags: dict[tuple[str, int], int | None] = {}
        for place, offset in task.reflected_positions.items():
            end = self._end(place)
            lags[place] = None if end is None else max(0, end - offset)
        return lags

    def _end(self, place: tuple[str, int]) -> int | None:
        """End of an input of an own task, as far as it is known."""
        if self._worker.host.is_fetched(place):
            end: int | None = self._worker.app.consumer.highwater(TopicPartition(*place))
            return end
        return self._worker.obedience.held_ends.get(place)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Healthy unless the watchdog calls the worker stuck."""
        verdict = self._worker.watchdog.verdict()
        return verdict is not Verdict.STUCK, {"status": verdict.value, "state": self.controls.state}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready when assigned, restored and serving."""
        tasks = self._worker.host.tasks.values()
        serving = (TaskState.RUNNING, TaskState.PAUSED)
        opening = {task.name: round(task.restore.ratio, 3) for task in tasks if task.state not in serving}
        reading = {each.name: round(self.global_table(each.name).ratio, 3) for each in self.plan.global_tables}
        ready = self._worker.is_ready
        return ready, {
            "ready": ready,
            "state": self.controls.state,
            "assigned": self._worker.host.assigned,
            "tasks": len(tasks),
            "topologies": int(self.controls.state == "running"),
            "dependencies": dependencies(self._worker),
            "restoring": opening | {name: ratio for name, ratio in reading.items() if ratio < 1},
        }

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Exposition in what is accepted with its media type, gauges filled now."""
        self._fill_metrics()
        return self._metrics.render(accept)

    def points(self) -> list[Point]:
        """The same as points for the metrics stream, and what follows from them."""
        self._fill_metrics()
        found = points_of(self._metrics.shown)
        return [*found, *self._performance.points(self.plan.topology, found)]

    def _fill_metrics(self) -> None:
        families, topology = self._metrics, self.plan.topology
        families.forget_tasks()
        sums: dict[tuple[str, str], list[int]] = {}
        for task in self._worker.host.tasks.values():
            labels = (topology, task.stage.name, str(task.partition))
            families.restore_ratio.labels(*labels).set(task.restore.ratio)
            if task.store is None or not task.is_open:
                continue
            families.state_bytes.labels(*labels).set(task.store.size_bytes())
            watermark = task.committed_watermark_ms
            if watermark not in (None, NO_TIME):
                families.watermark_seconds.labels(*labels).set(watermark / 1_000)
                if watermark < END_OF_TIME:
                    families.watermark_lag_seconds.labels(*labels).set(time.time() - watermark / 1_000)
                else:
                    families.watermark_lag_seconds.remove(*labels)
            families.stream.fill(labels, stream_figures(task))
            lags = self._lags(task)
            families.lag_records.labels(*labels).set(sum(lag or 0 for lag in lags.values()))
            for entry in task.stage.leveled:
                lag = lags.get((entry.topic, task.partition)) or 0
                families.level_lag.labels(*labels, entry.node, entry.level).set(lag)
            for node, each in task.task.counters.by_node().items():
                counts = sums.setdefault((task.stage.name, node), [0, 0, 0, 0, 0])
                for place, number in enumerate((each.rows_in, each.rows_out, each.late, each.dead, each.dropped)):
                    counts[place] += number
        for table in self.plan.global_tables:
            self._fill_table(table.name)
        families.live_clients.labels(topology).set(self._live.seats.taken_count)
        show_models(families.models, topology, self._worker)
        gauges = (
            families.rows_in, families.rows_out, families.rows_late, families.rows_dead, families.rows_dropped,
        )  # fmt: skip
        for (stage, node), counts in sums.items():
            for gauge, number in zip(gauges, counts, strict=True):
                gauge.labels(topology, stage, node).set(number)
            # What failed went to the dead letters, or on to who takes such rows.
            failed = counts[3] + sums.get((stage, f"{node}.failed"), (0, 0))[1]
            last_s = self._statistics.last_s(stage, node, counts[0])
            rates = reduction(counts[0], counts[1]), self._statistics.latency_s(stage, node)
            families.rates.fill((topology, stage, node), *rates, counts[0] - failed, failed, last_s)
        families.calls.fill(topology, self._calls())
        families.timers.fill(topology, self.timer_counts)
        if self.alerting is not None:
            alerts = self.alerting.table
            families.alerts.fill(None if alerts is None else alerts.counts, self.alerting.telling.counts)

    def _calls(self) -> dict[str, dict[str, Any]]:
        """Calls to the outside, by node."""
        return {name: guarded.view() for name, guarded in self._worker.calls.guarded.items()}

    def waiting_tasks(self) -> list[dict[str, Any]]:
        """What this worker's loop has to do, and where each of it stands."""
        return waiting_tasks()

    def profile(self, seconds: float) -> dict[str, Any]:
        """A look at this process for some seconds."""
        return shown(Profiler(self._worker.sources).watch(seconds)) | {"worker": self.url}

    def _fill_table(self, name: str) -> None:
        families, labels, found = self._metrics, (self.plan.topology, name), self.global_table(name)
        families.table_rows.labels(*labels).set(len(found.table.rows))
        families.table_bytes.labels(*labels).set(found.table.size_bytes)
        families.table_lag.labels(*labels).set(found.lag)
        families.table_bad.labels(*labels).set(found.table.bad_count)

    def _count_chunk(self, task: HostedTask, count: int, took_s: float) -> None:
        labels = (self.plan.topology, task.stage.name)
        self._metrics.chunk_records.labels(*labels).observe(count)
        self._metrics.chunk_seconds.labels(*labels).observe(took_s)
        self._statistics.worked(task.stage.name, count, took_s)
        self._worked_s += took_s

    def _count_commit(self, task: HostedTask, checkpoint: Checkpoint, took_s: float) -> None:
        if checkpoint.spans:
            self.traces.tell(checkpoint.spans)
        self._statistics.committed(task.stage.name, checkpoint.record_count)
        families, labels = self._metrics, (self.plan.topology, task.stage.name)
        families.events.labels(*labels, str(task.partition)).inc(checkpoint.record_count)
        families.outputs.labels(*labels, str(task.partition)).inc(checkpoint.output_count)
        families.checkpoint_records.labels(*labels).observe(checkpoint.record_count)
        latency_s = max(0.0, time.time() - checkpoint.first_ms / 1_000) if checkpoint.first_ms else None
        trace_id = checkpoint.spans[-1].context.trace_id if checkpoint.spans else None
        families.committed(labels, took_s, latency_s, trace_id)
