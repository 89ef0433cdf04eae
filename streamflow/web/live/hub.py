"""All live tables of a process: feeds that somebody follows, and the pump that publishes what own tasks commit.

    checkpoint ──► collect()            one look into a dictionary where nobody follows
                     └► dirty sources ──► pump ──► flush ──► followers, each of which is sent so much at a time

A feed lives as long as somebody follows it, and `LINGER_S` longer for those who come back.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamflow.checkpoint.progress import NO_TIME
from streamflow.nodes.operators import Await, Park, Process
from streamflow.plan.plan import Guarantee, Stage, TablePlan
from streamflow.query.request import Reason
from streamflow.state.store import Store, TableChanges
from streamflow.web.fanout import Seats
from streamflow.web.live.feed import Feed, Follower
from streamflow.web.live.pace import Pace
from streamflow.web.live.sources import OwnTask, follow_elsewhere, own_or_elsewhere
from streamflow.web.ports import LocalTable, Service

log = logging.getLogger(__name__)

LINGER_S = 30.0
#: Operators that may change tables while positions and progress stay, by the wall clock or when an answer comes.
_BY_CLOCK = Process | Park | Await
#: Connections of other workers: one per partition and table that somebody follows there, and one per snapshot.
WORKER_CONNECTIONS = 10_000
#: How often is looked where a partition is now.
_LOOK_S = 0.2
#: How long followers wait for a partition that nobody has; then they are sent away.
LOST_S = 60.0


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Clients of live tables in a process, and the least time between two messages to one of them, ms."""

    client_count: int = 1_000
    interval_ms: int = 50


class LiveTables:
    """Feeds by table and partition. `pace` is asked by everybody who works for readers."""

    def __init__(self, service: Service, limits: LiveLimits) -> None:
        self.service, self.limits = service, limits
        self.pace = Pace(service.worked_s)
        self.seats = Seats(limits.client_count, "live tables")
        self.worker_seats = Seats(WORKER_CONNECTIONS, "live tables from other workers")
        self._feeds: dict[tuple[str, int], Feed] = {}
        self._runs: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._sources: dict[tuple[str, int], list[OwnTask]] = {}
        self._dirty: set[OwnTask] = set()
        self._filled = asyncio.Event()
        self._pumping: asyncio.Task[None] | None = None
        self._closers: set[Callable[[str], None]] = set()
        self.is_stopping = False
        service.on_checkpoint(self.collect)

    # -- followers ----------------------------------------------------------------------------------------------------

    def follow(self, stage: Stage, table: TablePlan, partition: int, follower: Follower) -> Feed:
        """The feed of a partition, which tells the follower from now on. It may not be live yet."""
        place = (table.name, partition)
        feed = self._feeds.get(place)
        if feed is None:
            feed = self._feeds[place] = Feed(table, self.service.reader(stage, table), partition)
            self._runs[place] = asyncio.create_task(self._run(stage, feed), name=f"feed {table.name}/{partition}")
        if self._pumping is None:
            self._pumping = asyncio.create_task(self._pump(), name="live tables")
        feed.followers.add(follower)
        return feed

    def leave(self, feed: Feed, follower: Follower) -> None:
        """The follower is told no more."""
        feed.followers.discard(follower)

    def on_stop(self, close: Callable[[str], None]) -> None:
        """Have a client closed when the process stops."""
        self._closers.add(close)

    def forget(self, close: Callable[[str], None]) -> None:
        """The client is gone."""
        self._closers.discard(close)

    async def stop(self) -> None:
        """Send every client away; others are refused."""
        self.is_stopping = True
        for close in list(self._closers):
            close("stopping")
        tasks = [*self._runs.values(), *([self._pumping] if self._pumping else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- sources ------------------------------------------------------------------------------------------------------

    async def _run(self, stage: Stage, feed: Feed) -> None:
        """Keep a feed supplied for as long as it is wanted."""
        wanted_at = lived_at = time.monotonic()
        while feed.followers or time.monotonic() - wanted_at < LINGER_S:
            source = own_or_elsewhere(self.service, stage, feed.partition)
            reason = str(Reason.NOT_ASSIGNED)
            try:
                if isinstance(source, LocalTable):
                    await self._follow_own(stage, feed, source)
                elif source is not None:
                    reason = await self._follow_other(feed, source)
            except Exception:
                said, name = "the feed of table %s, partition %s, begins anew", feed.table.name
                log.exception(said, name, feed.partition, extra={"table": name})
                feed.restart("", NO_TIME)
            now = time.monotonic()
            wanted_at = now if feed.followers else wanted_at
            lived_at = now if feed.live.is_set() else lived_at
            feed.end(reason)
            if now - lived_at >= LOST_S:
                for follower in list(feed.followers):
                    follower.gave_up(feed)
            await asyncio.sleep(_LOOK_S)
        del self._feeds[feed.table.name, feed.partition], self._runs[feed.table.name, feed.partition]

    async def _follow_own(self, stage: Stage, feed: Feed, local: LocalTable) -> None:
        """Until the task is another one, or nobody wants the feed any more."""
        place = (stage.name, feed.partition)
        source = OwnTask(feed, local, self._version(stage, feed))
        self._sources.setdefault(place, []).append(source)
        try:
            unwanted = 0.0
            while unwanted < LINGER_S:
                await asyncio.sleep(_LOOK_S)
                unwanted = 0.0 if feed.followers else unwanted + _LOOK_S
                now = self.service.local(stage, feed.partition)
                if not isinstance(now, LocalTable) or now.store is not local.store:
                    break
        finally:
            self._sources[place].remove(source)
        await source.flush(self.pace)

    async def _follow_other(self, feed: Feed, url: str) -> str:
        following = asyncio.create_task(follow_elsewhere(self.service, feed, url), name="feed elsewhere")
        unwanted = 0.0
        try:
            while not following.done() and unwanted < LINGER_S:
                await asyncio.wait([following], timeout=_LOOK_S)
                unwanted = 0.0 if feed.followers else unwanted + _LOOK_S
            return following.result() if following.done() else Reason.NOT_ASSIGNED
        finally:
            following.cancel()
            await asyncio.wait([following])

    def _version(self, stage: Stage, feed: Feed) -> str:
        """Version of an own task's table, "" where tables of the same version may differ."""
        by_clock = any(isinstance(node.operator, _BY_CLOCK) for node in stage.nodes)
        exact = self.service.plan.guarantee is Guarantee.EXACTLY_ONCE and not by_clock
        return self.service.version(stage.name, feed.partition) if exact else ""

    def collect(self, stage_name: str, partition: int, store: Store, tables: list[TableChanges]) -> None:
        """A checkpoint of an own task is in Kafka and in the store."""
        sources = self._sources.get((stage_name, partition))
        if not sources:
            return
        stage = self.service.plan.stage(stage_name)
        local = self.service.local(stage, partition)
        if not isinstance(local, LocalTable):
            return
        for source in sources:
            if source.collect(store, tables, self._version(stage, source.feed), local.watermark_ms):
                self._dirty.add(source)
                self._filled.set()

    async def _pump(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            dirty, self._dirty = self._dirty, set()
            for source in dirty:
                try:
                    await source.flush(self.pace)
                except Exception:
                    name = source.feed.table.name
                    said = "changes of table %s cannot be told; its followers begin anew"
                    log.exception(said, name, extra={"table": name})
                    source.feed.restart("", NO_TIME)
            await self.pace.rest()
