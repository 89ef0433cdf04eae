"""One client of one live table: what it is sent, in order.

    {"partitions": [{"partition", "watermark", …}], "changes": [{"partition", "id", "rows"}]}

    snapshot …   pages of the partitions that it has to read anew; the first of a partition says `reset`, the last of
                 all says `complete`
    delta …      what changed since
    bye          why nothing more comes

Changes that come while pages are read wait in the outbox and follow them. A page may already show what a later delta
repeats; nothing is ever shown older than what was sent.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson

from streamflow.errors import OwnerUnreachable
from streamflow.plan.plan import Stage, TablePlan
from streamflow.query.request import Reason, TableQuery
from streamflow.web.fanout import Outbox
from streamflow.web.live.changes import ChangeSet, LiveFilter, change_of, partition_prefix
from streamflow.web.live.feed import Feed
from streamflow.web.live.hub import LiveTables
from streamflow.web.live.sources import own_or_elsewhere, token_subject
from streamflow.web.live.tokens import Position, decode_resume, encode_resume
from streamflow.web.ports import LocalTable
from streamflow.web.problems import Refusal
from streamflow.web.server_sent_events import HEARTBEAT_S, read_events

#: How long a client that comes waits for partitions that are not to be had.
_WAIT_S = 5.0
#: Without changes a client is told of watermarks so often.
_QUIET_S = 1.0
#: Rows of a page, and bytes of a delta.
_PAGE_ROWS = 1_000
_PIECE_BYTES = 256 << 10
_RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class Message:
    """`kind`: snapshot, delta, bye, or "" for a sign of life. `token`: to resume, when the client is whole with it."""

    kind: str
    body: bytes = b""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants. `texts`: its parameters as given. `partitions`: own ones only, when another worker asks."""

    stage: Stage
    table: TablePlan
    chosen: LiveFilter
    texts: dict[str, str | None]
    partitions: tuple[int, ...]
    is_worker: bool = False
    with_snapshot: bool = True
    every_s: float = 0.05


class Subscription:
    """Follows the feeds of its partitions from `open` to `close`. `messages` is to be read by one task."""

    def __init__(self, tables: LiveTables, wish: Wish, token: str | None) -> None:
        self.wish, self._tables = wish, tables
        self._subject = token_subject(wish.table.name, wish.texts)
        self._positions = decode_resume(self._subject, token) if token else {}
        self._outbox = Outbox()
        self._feeds: dict[int, Feed] = {}
        self._stale: set[int] = set()
        self._told: dict[int, Position] = {}
        self._sent_at = 0.0

    async def open(self) -> None:
        """Be told from now on. Raises Refusal when partitions cannot be had."""
        wish, tables = self.wish, self._tables
        if tables.is_stopping:
            raise Refusal(503, "stopping", "this worker stops", retry_after_s=1)
        if wish.is_worker:
            self._check_own()
        tables.on_stop(self._outbox.close)
        self._feeds = {each: tables.follow(wish.stage, wish.table, each, self) for each in wish.partitions}
        try:
            async with asyncio.timeout(_WAIT_S):
                for feed in self._feeds.values():
                    await feed.live.wait()
        except TimeoutError as error:
            self.close()
            partition, feed = next(each for each in self._feeds.items() if not each[1].live.is_set())
            detail = f"partition {partition} cannot be followed now"
            raise Refusal(503, feed.reason, detail, retry_after_s=1, partition=partition) from error
        except BaseException:
            self.close()
            raise
        for partition, feed in self._feeds.items():
            self._catch_up(partition, feed)

    def _check_own(self) -> None:
        for partition in self.wish.partitions:
            if not isinstance(self._tables.service.local(self.wish.stage, partition), LocalTable):
                detail = f"partition {partition} is not on this worker"
                raise Refusal(421, Reason.NOT_OWNER, detail, partition=partition)

    def _catch_up(self, partition: int, feed: Feed) -> None:
        missed = feed.since(self._positions.get(partition))
        self._outbox.drop(partition_prefix(partition))  # came while others were waited for; it is in what follows
        if missed is None:
            self._stale.add(partition)
        else:
            self._stale.discard(partition)
            self._outbox.put_all(*ChangeSet(missed).taken(self.wish.chosen))

    def close(self) -> None:
        """Be told no more; idempotent."""
        for feed in self._feeds.values():
            self._tables.leave(feed, self)
        self._tables.forget(self._outbox.close)
        self._outbox.close("closed")

    # -- called by feeds ----------------------------------------------------------------------------------------------

    def changed(self, feed: Feed, changes: ChangeSet) -> None:
        """Let changes wait."""
        self._outbox.put_all(*changes.taken(self.wish.chosen))

    def restarted(self, feed: Feed) -> None:
        """Read the partition anew; what waits of it is in what will be read."""
        self._stale.add(feed.partition)
        self._outbox.drop(partition_prefix(feed.partition))
        self._outbox.wake()

    def lost(self, feed: Feed) -> None:
        """Another worker has to look for the partition where it is now."""
        if self.wish.is_worker:
            self._outbox.close(Reason.NOT_OWNER)

    def gave_up(self, feed: Feed) -> None:
        """The client may come back later."""
        self._outbox.close(feed.reason)

    # -- read by the client -------------------------------------------------------------------------------------------

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What the client is sent; ends after a bye."""
        self._sent_at = time.monotonic()
        while not self._outbox.closed:
            if self._stale:
                async with aclosing(self._snapshot()) as pages:
                    async for message in pages:
                        yield self._sent(message)
                if time.monotonic() - self._sent_at >= HEARTBEAT_S:
                    yield self._sent(Message(""))
                continue
            await self._outbox.wait(_QUIET_S)
            pause_s = self._sent_at + self.wish.every_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            if self._outbox.closed or self._stale:
                continue
            started = time.monotonic()
            delta = self._delta()
            self._tables.pace.worked(time.monotonic() - started)
            if delta is not None:
                yield self._sent(delta)
        yield Message("bye", orjson.dumps({"reason": self._outbox.closed}))

    def _sent(self, message: Message) -> Message:
        self._sent_at = time.monotonic()
        return message

    def _delta(self) -> Message | None:
        changes = self._outbox.take(_PIECE_BYTES)
        if not self._outbox.is_empty:
            return Message("delta", _body([], changes))
        positions = {partition: feed.position for partition, feed in self._feeds.items()}
        moved = [feed for partition, feed in self._feeds.items() if positions[partition] != self._told.get(partition)]
        if not changes and not moved:
            return Message("") if time.monotonic() - self._sent_at >= HEARTBEAT_S else None
        self._told = positions
        body = _body([feed.about() for feed in moved], changes)
        return Message("delta", body, encode_resume(self._subject, positions))

    # -- snapshots ----------------------------------------------------------------------------------------------------

    async def _snapshot(self) -> AsyncGenerator[Message, None]:
        """Pages of all partitions that are to be read anew, then what came meanwhile."""
        for partition in sorted(self._stale):
            reset: list[dict[str, Any]] = [{"partition": partition, "reset": True}]
            self._stale.discard(partition)
            try:
                async with aclosing(self._pages(partition)) as pages:
                    async for page in pages:
                        if self._outbox.closed:
                            return
                        yield Message("snapshot", _body(reset, page))
                        reset = []
            except (_Moved, OwnerUnreachable):
                self._stale.add(partition)
            if partition in self._stale:
                await asyncio.sleep(_RETRY_S)  # it begins again, with a reset of its own
                return
        changes, token = self._outbox.take(_PIECE_BYTES), ""
        if self._stale:
            yield Message("delta", _body([], changes))
            return
        if self._outbox.is_empty:
            self._told = {partition: feed.position for partition, feed in self._feeds.items()}
            token = encode_resume(self._subject, self._told)
        yield Message("snapshot", _body([feed.about() for feed in self._feeds.values()], changes, complete=True), token)

    def _pages(self, partition: int) -> AsyncGenerator[list[bytes], None]:
        """Changes that put every row of a partition in its place, a page at a time; at least one page."""
        source = own_or_elsewhere(self._tables.service, self.wish.stage, partition)
        if not self.wish.with_snapshot:
            return self._no_pages()
        if source is None:
            raise _Moved
        return (
            self._own_pages(partition, source) if isinstance(source, LocalTable) else self._pages_of(source, partition)
        )

    @staticmethod
    async def _no_pages() -> AsyncGenerator[list[bytes], None]:
        yield []

    async def _own_pages(self, partition: int, local: LocalTable) -> AsyncGenerator[list[bytes], None]:
        wish, tables, after = self.wish, self._tables, None
        reader = tables.service.reader(wish.stage, wish.table)
        while True:
            now = tables.service.local(wish.stage, partition)
            if not isinstance(now, LocalTable) or now.store is not local.store:
                raise _Moved
            started, page, looked = time.monotonic(), [], 0
            chosen = wish.chosen
            query = TableQuery(chosen.key, chosen.from_ms, chosen.to_ms, after=after)
            for store_key, raw in reader.stored(now.store, query):
                looked, after = looked + 1, store_key
                if raw is None:
                    looked = _PAGE_ROWS
                else:
                    change = change_of(reader, partition, store_key, raw, now.watermark_ms)
                    if chosen.takes(change):
                        page.append(change.data)
                if looked >= _PAGE_ROWS:
                    break
            tables.pace.worked(time.monotonic() - started)
            yield page
            if looked < _PAGE_ROWS:
                return
            await tables.pace.rest()

    async def _pages_of(self, url: str, partition: int) -> AsyncGenerator[list[bytes], None]:
        service, name = self._tables.service, self.wish.table.name
        path = f"/v1/topologies/{service.plan.topology}/tables/{name}/live"
        asked = {key: text for key, text in self.wish.texts.items() if text is not None}
        async with service.follow(url, path, {**asked, "partitions": str(partition)}, {}) as (status, lines):
            if status != 200:
                raise _Moved
            async for event in read_events(lines):
                body = orjson.loads(event.data)
                if event.event == "bye":
                    raise _Moved
                yield [orjson.dumps(change, option=orjson.OPT_NON_STR_KEYS) for change in body["changes"]]
                if body.get("complete"):
                    return
        raise _Moved


class _Moved(Exception):
    """The partition is not where it was sought."""


def _body(partitions: list[dict[str, Any]], changes: list[bytes], *, complete: bool = False) -> bytes:
    head = orjson.dumps(partitions)
    tail = b',"complete":true}' if complete else b"}"
    return b'{"partitions":%s,"changes":[%s]%s' % (head, b",".join(changes), tail)
