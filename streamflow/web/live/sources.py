"""Where a feed's changes come from: an own task's checkpoints, or the same feed of another worker.

own task     collect() at every checkpoint ──► the last value per store key ──► flush(): decoded, published
elsewhere    GET …/live?partitions=n&snapshot=false ──► published as it comes
"""

import asyncio
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from streamflow.checkpoint.progress import NO_TIME
from streamflow.errors import OwnerUnreachable
from streamflow.plan.plan import Stage
from streamflow.query.request import Reason
from streamflow.state.store import Store, TableChanges
from streamflow.web.live.changes import change_from, change_of
from streamflow.web.live.feed import Feed
from streamflow.web.live.pace import Pace
from streamflow.web.live.tokens import Position, decode_resume, encode_resume
from streamflow.web.ports import LocalTable, Service
from streamflow.web.server_sent_events import read_events

#: Changed keys that may wait for a flush; more, and followers read the partition anew.
PENDING_MAX = 100_000
#: Least time between two messages to another worker, whose clients wait for their own turns besides.
_BETWEEN_MS = 10
#: Rows decoded before the loop gets a turn: some 3 ms.
_SLICE = 1_000


class OwnTask:
    """Source of a partition that this worker has.

    Memory: `PENDING_MAX` values, which the store mostly has too.
    """

    def __init__(self, feed: Feed, local: LocalTable, version: str) -> None:
        self.feed, self.store = feed, local.store
        self._pending: dict[bytes, bytes | None] = {}
        self._version, self._watermark_ms, self._expired_below = version, local.watermark_ms, b""
        self._is_new = self._overflowed = False
        self._lock = asyncio.Lock()
        feed.begin(version, local.watermark_ms)

    def collect(self, store: Store, tables: list[TableChanges], version: str, watermark_ms: int) -> bool:
        """Take what a checkpoint changed; whether it was of this source's store."""
        if store is not self.store:
            return False
        for each in tables:
            if each.table == self.feed.table.name:
                self._pending.update(each.changes)
                self._expired_below = each.expire_below or self._expired_below
        if len(self._pending) > PENDING_MAX:
            self._pending.clear()
            self._overflowed = True
        self._version, self._watermark_ms, self._is_new = version, watermark_ms, True
        return True

    async def flush(self, pace: Pace) -> None:
        """Publish what was collected."""
        async with self._lock:
            if not self._is_new:
                return
            pending, self._pending = self._pending, {}
            version, watermark_ms, expired_below = self._version, self._watermark_ms, self._expired_below
            overflowed, self._overflowed = self._overflowed, False
            self._is_new = False
            if overflowed:
                self.feed.restart(version, watermark_ms)
                return
            changes = []
            items = list(pending.items())
            for first in range(0, len(items), _SLICE):
                started = time.monotonic()
                for key, raw in items[first : first + _SLICE]:
                    changes.append(change_of(self.feed.reader, self.feed.partition, key, raw, watermark_ms))
                pace.worked(time.monotonic() - started)
                if first + _SLICE < len(items):
                    await pace.rest()
            started = time.monotonic()
            self.feed.publish(changes, version, watermark_ms, expired_below)
            pace.worked(time.monotonic() - started)


async def follow_elsewhere(service: Service, feed: Feed, url: str) -> str:
    """Publish what another worker's feed publishes, until that ends; gives why it did."""
    path = f"/v1/topologies/{service.plan.topology}/tables/{feed.table.name}/live"
    parameters = {"partitions": str(feed.partition), "snapshot": "false", "every_ms": str(_BETWEEN_MS)}
    subject = token_subject(feed.table.name, parameters)
    token = encode_resume(subject, {feed.partition: feed.heard or feed.position})
    try:
        async with service.follow(url, path, parameters, {"Last-Event-ID": token}) as (status, lines):
            if status != 200:
                return Reason.NOT_OWNER if status == 421 else Reason.OWNER_UNREACHABLE
            heard = _Heard()
            async for event in read_events(lines):
                if event.event == "bye":
                    return Reason.NOT_OWNER
                heard.add(orjson.loads(event.data))
                if event.id:
                    heard.tell(feed, url, decode_resume(subject, event.id)[feed.partition])
                    heard = _Heard()
    except OwnerUnreachable:
        return Reason.OWNER_UNREACHABLE
    return Reason.NOT_OWNER


class _Heard:
    """Events of another worker up to one with a token; as much as an outbox holds."""

    def __init__(self) -> None:
        self._about: dict[str, Any] = {"watermark": None}
        self._changes: list[dict[str, Any]] = []

    def add(self, body: dict[str, Any]) -> None:
        for about in body["partitions"]:
            self._about |= about
        self._changes += body["changes"]

    def tell(self, feed: Feed, url: str, position: Position) -> None:
        """Publish what was heard; the client is whole with it at a position of the other feed."""
        watermark_ms = NO_TIME if self._about["watermark"] is None else self._about["watermark"]
        if self._about.get("reset"):
            feed.restart(position.version, watermark_ms)
        changes = [change_from(feed.reader, each) for each in self._changes]
        feed.publish(changes, position.version, watermark_ms, bytes.fromhex(self._about.get("expired_below", "")))
        feed.hear(url, position)


def token_subject(table: str, chosen: Mapping[str, str | None]) -> str:
    """Digest of what a token is of: the table and the filter, by which other filters' tokens are told apart."""
    names = ("key", "prefix", "from", "to", "partitions")
    text = orjson.dumps([table, *(chosen.get(name) for name in names)])
    return blake2b(text, digest_size=6).hexdigest()


def own_or_elsewhere(service: Service, stage: Stage, partition: int) -> LocalTable | str | None:
    """The own table of a partition, the address of the worker that has it, or None while it is nobody's."""
    local = service.local(stage, partition)
    if isinstance(local, LocalTable):
        return local
    url = service.owner(stage, partition) if local is None else None
    return url if url and url != service.url else None
