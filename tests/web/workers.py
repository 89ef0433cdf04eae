"""Two workers in one process: real HTTP between them, stores in memory, and a log that keeps what was published.

The service answers what a worker's would: it holds the partitions it was given, and says where it believes the others are.
`reflected` is what its stores reflect; a test moves it on by `reflect`, as a checkpoint would.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI

from streamflow.alerts.config import AlertsConfig
from streamflow.bus.cancellations import Cancellation, Cancellations
from streamflow.bus.control import ORDER_KEY, Control, Obeyed, Wish, task_key
from streamflow.bus.feed import EventFeed
from streamflow.bus.log import EventLog, QueuedEvents
from streamflow.bus.states import State
from streamflow.cli.access import AsWorker
from streamflow.engine.global_table import FollowedTable, GlobalTable
from streamflow.engine.history import History
from streamflow.errors import IllegalMove, OwnerUnreachable, UserError
from streamflow.model.keyed_publish import KeyReused, Published
from streamflow.model.outcome import CORRELATION, Headers
from streamflow.model.partitioner import partition_of
from streamflow.model.position import Positions
from streamflow.plan.plan import Plan, Stage, TablePlan
from streamflow.plan.planner import make_plan
from streamflow.query.reader import PaneReader, TableReader
from streamflow.query.standing import TaskStanding
from streamflow.runtime.blocked import waiting_tasks
from streamflow.runtime.profiler import Profiler, shown
from streamflow.runtime.traces import Traces
from streamflow.state.keys import window_key
from streamflow.state.memory import MemoryStore
from streamflow.state.store import StoreMeta, TableChanges
from streamflow.topology.yaml_file import parse_topology
from streamflow.web.app import HttpServer, create_app
from streamflow.web.executions import Executions
from streamflow.web.identity import Access
from streamflow.web.limits import PublishLimits
from streamflow.web.live.hub import LiveLimits, LiveTables
from streamflow.web.ports import CheckpointListener, Controls, LocalTable, SampleReader, Snapshots
from tests.web.event_feed import MemoryFeed
from tests.web.stored_letters import StoredLetters

PARTITIONS = 4
HOUR_MS = 3_600_000
TABLE = "/v1/topologies/t/tables/hourly"
EVENTS = "/v1/topics/t.sales/events"
PLAN: Plan = make_plan(
    parse_topology(
        """
        topology: t
        schemas: {Sale: {time: timestamp, shop: str, amount: int}, Shop: {number: int, city: str, size: int?}}
        nodes:
          shops: {kind: global_table, topic: t.shops, schema: Shop, key: number}
          sales: {kind: source, topic: t.sales, schema: Sale, event_time: time, key: shop, priorities: {urgent: 8}}
          hourly: {kind: window, input: sales, window: {type: tumbling, size: 1h}, aggregate: {n: count()}}
        """
    )
)


def keys_of(partition: int, count: int) -> list[str]:
    """The first `count` keys of a partition."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        if partition_of(b"s%d" % number, PARTITIONS) == partition:
            found.append(f"s{number}")
        number += 1
    return found


_LIMITS, _LIVE = PublishLimits(), LiveLimits()


class LocalControls:
    """The control topic of a worker that is alone: orders are appended at once, tasks obey when a test says so."""

    def __init__(self, plan: Plan) -> None:
        self.cancelled = Cancellations()
        self.control = Control(plan.identity, {stage.name: PARTITIONS for stage in plan.stages})

    @property
    def state(self) -> State:
        """Of the topology."""
        return self.control.state

    def standing(self) -> dict[str, Any]:
        """State, order, and who has not obeyed it."""
        waiting = [f"{stage}/{partition}" for stage, partition in self.control.waiting_for()]
        order = msgspec.to_builtins(self.control.order)
        return {"state": self.state, **order, "at": order["at_ms"], "waiting_for": waiting}

    async def order(self, wish: Wish, actor: str, reason: str, version: int | None) -> int:
        """Append an order that follows."""
        order = self.control.next_order(wish, actor, reason, 1, version)
        if order is not None:
            assert self.control.apply(ORDER_KEY, msgspec.json.encode(order))
        return self.control.order.version

    async def cancel_execution(self, execution: bytes, actor: str, reason: str) -> None:
        """Append it."""
        for key, value in self.cancelled.records(execution, Cancellation(actor, reason, 1)):
            assert self.cancelled.apply(key, value)

    async def obeyed(self, version: int, timeout_s: float) -> bool:
        """Whether all have obeyed by now."""
        return not self.control.waiting_for()

    def obey(self) -> None:
        """Every task gives its word."""
        word = msgspec.json.encode(Obeyed(self.control.order.version, "w", 2))
        for stage, partition in self.control.waiting_for():
            assert self.control.apply(task_key(stage, partition), word)


class KeptStates:
    """Snapshots by their number, of a topology that stands still while `stands` says so."""

    def __init__(self) -> None:
        self.stands, self.runs = False, set[str]()
        self._taken: list[dict[str, Any]] = []

    async def taken(self) -> list[dict[str, Any]]:
        """All."""
        return self._taken

    async def take(self, actor: str) -> dict[str, Any]:
        """One more."""
        if not self.stands:
            raise IllegalMove("t is running: pause it first")
        self._taken.append({"id": str(len(self._taken)), "actor": actor})
        return self._taken[-1]

    async def restore(self, snapshot: str, run: str, origin: str, actor: str) -> dict[str, Any]:
        """A run, once."""
        if run in self.runs or not any(each["id"] == snapshot for each in self._taken):
            raise UserError(f"no snapshot {snapshot}, or run {run} is there")
        self.runs.add(run)
        return {"run": run, "snapshot": self._taken[int(snapshot)]}


class StoredWorker:
    """A `web.ports.Service` over stores in memory."""

    def __init__(self, server: HttpServer, plan: Plan = PLAN, live: LiveLimits = _LIVE) -> None:
        self.plan, self.url, self.server = plan, server.url, server
        self.controls: Controls = LocalControls(plan)
        self.snapshots: Snapshots = KeptStates()
        self.events: EventLog = QueuedEvents(server.url)
        self.feed: EventFeed | None = MemoryFeed()
        self.alerts_config: AlertsConfig | None = None
        self.samples: SampleReader | None = None
        self.traces = Traces("", 0, "orders", server.url)
        self.app: FastAPI
        self.stores: dict[int, MemoryStore] = {}
        self.reflected: dict[tuple[str, int], int] = {}
        self.owners: dict[int, str] = {}
        self.tables = {each.name: GlobalTable(each) for each in plan.global_tables}
        self.ratio = 1.0
        self.standings: dict[tuple[str, int], TaskStanding] = {}
        self.histories: dict[tuple[str, int], History] = {}
        self.watermark_ms = 2 * HOUR_MS
        self.published: list[tuple[bytes | None, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.delays_s: dict[str, float] = {}
        self.publishing_is_busy = False
        self.access = Access(url=server.url)
        self.executions = Executions()
        self.letters = StoredLetters()
        self.key_owner: str | None = None
        self.published_keys: dict[str, tuple[bytes, int, str]] = {}
        self.headers: list[Sequence[tuple[str, bytes]]] = []
        self._client = httpx.AsyncClient(timeout=20)
        self.listeners: list[CheckpointListener] = []
        self.committed: dict[int, int] = {}
        self.live = LiveTables(self, live)

    def hold(self, partition: int, rows: Mapping[tuple[int, str], int] | None = None) -> None:
        """Hold a partition with rows {(window start, key): count}."""
        changes = [(window_key(start, key.encode()), b"%d" % n) for (start, key), n in (rows or {}).items()]
        store = self.stores.setdefault(partition, MemoryStore())
        store.write([TableChanges("hourly", list(changes))], StoreMeta())

    def commit(
        self, partition: int, rows: Mapping[tuple[int, str], int | None], expire_below: bytes | None = None
    ) -> None:
        """A checkpoint of an own partition with rows {(window start, key): count}, None where one is deleted."""
        changes = [(window_key(start, key.encode()), n if n is None else b"%d" % n) for (start, key), n in rows.items()]
        tables = [TableChanges("hourly", list(changes), expire_below)]
        self.stores[partition].write(tables, StoreMeta())
        self.committed[partition] = self.committed.get(partition, 0) + 1
        for listener in self.listeners:
            listener("sales", partition, self.stores[partition], tables)

    def give(self, partition: int, other: "StoredWorker") -> None:
        """Another worker has a partition from now on, with the same state, restored into a store of its own."""
        rows = list(self.stores.pop(partition).scan("hourly"))
        other.stores[partition] = MemoryStore()
        other.stores[partition].write([TableChanges("hourly", list(rows))], StoreMeta())
        other.committed[partition] = self.committed.pop(partition, 0)

    def on_checkpoint(self, listener: CheckpointListener) -> None:
        """Tests commit."""
        self.listeners.append(listener)

    def worked_s(self) -> float:
        """They have no tasks."""
        return 0.0

    def version(self, stage: str, partition: int) -> str:
        """Commits are counted, wherever they were."""
        return f"v{self.committed.get(partition, 0)}" if partition in self.stores else ""

    @asynccontextmanager
    async def follow(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, AsyncIterator[str]]]:
        """GET at another worker whose answer does not end."""
        try:
            secret = self.access.worker_secret
            auth = AsWorker(secret, url) if secret else None
            async with self._client.stream(
                "GET", url + path, params=dict(parameters), headers=dict(headers), auth=auth
            ) as answer:
                yield answer.status_code, answer.aiter_lines()
        except httpx.HTTPError as error:
            raise OwnerUnreachable(str(error)) from error

    def partition_count(self, topic: str) -> int:
        """Every topic has four."""
        return PARTITIONS

    def view(self) -> dict[str, Any]:
        """Nothing to see."""
        return {}

    def reader(self, stage: Stage, table: TablePlan) -> TableReader:
        """Rows are counts as text."""
        return PaneReader(table, lambda raw: {"n": int(raw)})

    def local(self, stage: Stage, partition: int) -> LocalTable | float | None:
        """The partition's store when it is held."""
        store = self.stores.get(partition)
        return None if store is None else LocalTable(store, self.watermark_ms, self.reflected)

    def global_table(self, name: str) -> FollowedTable:
        """The table, which reflects what `reflected` says."""
        table = self.tables[name]
        positions = {p: offset for (topic, p), offset in self.reflected.items() if topic == table.plan.topic}
        return FollowedTable(table, positions, 0, self.ratio)

    def standing(self, stage: str, partition: int) -> TaskStanding | None:
        """What a test put there."""
        return self.standings.get((stage, partition))

    def history(self, stage: str, partition: int) -> History | None:
        """What a test put there."""
        return self.histories.get((stage, partition))

    def owner(self, stage: Stage, partition: int) -> str | None:
        """Where this worker believes the partition is."""
        return self.owners.get(partition)

    async def publish(
        self,
        topic: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        each: Sequence[Headers] = (),
    ) -> dict[int, int]:
        """Keep the records."""
        self.published += records
        self.headers += [(*headers, *more) for more in each] or [headers]
        return {0: len(self.published)}

    def publish_owner(self, key: str) -> str | None:
        """Where this worker believes the owner of all keys is."""
        return self.key_owner

    async def publish_once(
        self,
        topic: str,
        key: str,
        digest: bytes,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Published:
        """Keep the records, once per key."""
        if key not in self.published_keys:
            execution = dict(headers).get(CORRELATION, b"").decode()
            self.published_keys[key] = digest, len(self.published) + len(records), execution
            return Published(await self.publish(topic, records, headers), len(records), execution=execution)
        known, end, execution = self.published_keys[key]
        if known != digest:
            raise KeyReused
        return Published({0: end}, len(records), replayed=True, execution=execution)

    async def forward(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Over HTTP."""
        try:
            answer = await self._client.post(url + path, params=dict(parameters), headers=dict(headers), content=body)
        except httpx.HTTPError as error:
            raise OwnerUnreachable(str(error)) from error
        return answer.status_code, answer.headers, answer.content

    async def follow_outcomes(self) -> None:
        """Tests add the parts."""

    async def wait_until_reflected(
        self, stage: Stage, partitions: list[int], token: Positions, wait_s: float
    ) -> tuple[Positions, int]:
        """Wait for own partitions; the token's topics are the stage's own inputs here."""
        distance = 0
        for _ in range(max(1, int(wait_s / 0.01))):
            pairs = [(topic, p, end) for topic, ends in token.items() for p, end in ends.items()]
            mine = [each for each in pairs if each[1] in partitions and each[1] in self.stores]
            distance = sum(max(0, end - self.reflected.get((topic, p), 0)) for topic, p, end in mine)
            if distance == 0:
                break
            await asyncio.sleep(0.01)
        return token, distance

    async def ask(self, url: str, path: str, parameters: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """GET at another worker."""
        self.asked.append(dict(parameters))
        await asyncio.sleep(self.delays_s.get(url, 0.0))
        try:
            secret = self.access.worker_secret
            auth = AsWorker(secret, url) if secret else None
            response = await self._client.get(url + path, params=dict(parameters), auth=auth)
        except httpx.HTTPError as error:
            raise OwnerUnreachable(str(error)) from error
        return response.status_code, response.json()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Always well."""
        return True, {"status": "well"}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Always ready."""
        return True, {"ready": True}

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """None."""
        return b"", "text/plain"

    def waiting_tasks(self) -> list[dict[str, Any]]:
        return waiting_tasks()

    def profile(self, seconds: float) -> dict[str, Any]:
        """Of this process."""
        return shown(Profiler({}).watch(seconds))

    async def get(self, path: str = TABLE, **parameters: Any) -> httpx.Response:
        """GET at this worker as a client."""
        return await self._client.get(self.url + path, params=parameters)

    async def post(self, content: bytes | str, path: str = EVENTS, **headers: str) -> httpx.Response:
        """POST events at this worker as a client."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.post(self.url + path, content=content, headers=named)

    async def stop(self) -> None:
        """Stop serving."""
        await self.live.stop()
        await self._client.aclose()
        await self.server.stop()


@asynccontextmanager
async def workers(
    count: int = 2,
    limits: PublishLimits = _LIMITS,
    access: Callable[[str], Access] = lambda url: Access(url=url),
    live: LiveLimits = _LIVE,
    plan: Plan = PLAN,
) -> AsyncIterator[list[StoredWorker]]:
    """Workers that serve; partitions are dealt out in turn, and everybody knows where they are. access: by address."""
    made = [StoredWorker(HttpServer("127.0.0.1", 0), plan, live) for _ in range(count)]
    for worker in made:
        for partition in range(PARTITIONS):
            owner = made[partition % count]
            worker.owners[partition] = owner.url
            if owner is worker:
                worker.hold(partition)
        worker.access = access(worker.url)
        worker.app = create_app(worker, limits, worker.live, worker.access)
        worker.server.serve(worker.app)
    try:
        yield made
    finally:
        for worker in made:
            await worker.stop()
