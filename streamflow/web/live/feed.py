"""What happens to one partition of a table, as this process hears it: from an own task, or from another worker.

    source ── publish(changes) ──► followers' outboxes
                    └────────────► recent changes, for those who come back

A feed counts what it publishes. As long as nothing is missed it keeps its `origin`; when it cannot know what was missed
it takes a new one, and every follower reads the partition anew. Memory: `RECENT_MAX` changes and `RECENT_MAX_BYTES` per
feed.
"""

import asyncio
import secrets
from collections import OrderedDict
from typing import Any, Protocol

from streamflow.checkpoint.progress import NO_TIME
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import TableReader
from streamflow.web.live.changes import Change, ChangeSet
from streamflow.web.live.tokens import Position

RECENT_MAX = 10_000
RECENT_MAX_BYTES = 4 << 20


class Follower(Protocol):
    """A client of a feed. Nothing here may wait."""

    def changed(self, feed: "Feed", changes: ChangeSet) -> None:
        """Something was published."""

    def restarted(self, feed: "Feed") -> None:
        """What was missed is not known: the partition has to be read anew."""

    def lost(self, feed: "Feed") -> None:
        """Nothing comes until somebody has the partition again."""

    def gave_up(self, feed: "Feed") -> None:
        """Nobody has had the partition for long."""


class Feed:
    """One partition of one table. Single-threaded."""

    def __init__(self, table: TablePlan, reader: TableReader, partition: int) -> None:
        self.table, self.reader, self.partition = table, reader, partition
        self.followers: set[Follower] = set()
        #: Set while a source is there.
        self.live = asyncio.Event()
        #: The worker that is the source, "" for an own task.
        self.url = ""
        self.reason = "not_assigned"
        #: Where it is in the other worker's feed; None when an own task is the source.
        self.heard: Position | None = None
        self._origin, self._sequence, self._version = "", 0, ""
        self._watermark_ms, self._expired_below = NO_TIME, b""
        self._recent: OrderedDict[bytes, tuple[int, Change]] = OrderedDict()
        self._recent_bytes = 0
        self._floor = 0

    @property
    def position(self) -> Position:
        """Up to where followers were told."""
        return Position(self._origin, self._sequence, self._version)

    # -- the source's side --------------------------------------------------------------------------------------------

    def begin(self, version: str, watermark_ms: int) -> None:
        """An own task is the source, its state has this version. Followers go on when it is the one they have."""
        if not version or version != self._version:
            self.restart(version, watermark_ms)
        self.url, self.heard = "", None
        self.live.set()

    def hear(self, url: str, position: Position) -> None:
        """Another worker is the source, and this is where it is."""
        self.url, self.heard = url, position
        self.live.set()

    def end(self, reason: str) -> None:
        """The source is gone."""
        self.reason = reason
        if self.live.is_set():
            self.live.clear()
            for follower in list(self.followers):
                follower.lost(self)

    def restart(self, version: str, watermark_ms: int) -> None:
        """Something may have been missed."""
        self._origin, self._sequence, self._version = secrets.token_urlsafe(6), 0, version
        self._watermark_ms, self._expired_below = watermark_ms, b""
        self._recent.clear()
        self._recent_bytes = self._floor = 0
        for follower in list(self.followers):
            follower.restarted(self)

    def publish(self, changes: list[Change], version: str, watermark_ms: int, expired_below: bytes) -> None:
        """Tell every follower. `expired_below`: store keys below are gone, b"" when nothing new is."""
        self._sequence += 1
        self._version, self._watermark_ms = version, max(watermark_ms, self._watermark_ms)
        self._expired_below = max(expired_below, self._expired_below)
        for change in changes:
            self._remember(change)
        found = ChangeSet(changes)
        for follower in list(self.followers):
            follower.changed(self, found)

    def _remember(self, change: Change) -> None:
        before = self._recent.pop(change.place, None)
        self._recent_bytes += len(change.data) - (len(before[1].data) if before is not None else 0)
        self._recent[change.place] = (self._sequence, change)
        while len(self._recent) > RECENT_MAX or self._recent_bytes > RECENT_MAX_BYTES:
            _, (sequence, oldest) = self._recent.popitem(last=False)
            self._recent_bytes -= len(oldest.data)
            self._floor = max(self._floor, sequence)

    # -- the followers' side ------------------------------------------------------------------------------------------

    def since(self, position: Position | None) -> list[Change] | None:
        """What was published behind a position; None when that is not known."""
        if position is None or not self._origin:
            return None
        if position.origin == self._origin and self._floor <= position.sequence <= self._sequence:
            found: list[Change] = []
            for sequence, change in reversed(self._recent.values()):
                if sequence <= position.sequence:
                    break
                found.append(change)
            return found[::-1]
        return [] if position.version and position.version == self._version else None

    def about(self) -> dict[str, Any]:
        """Watermark, the end up to which windows are final, and what was let go, as clients are told."""
        about: dict[str, Any] = {"partition": self.partition, "watermark": None}
        if self._watermark_ms != NO_TIME:
            about["watermark"] = self._watermark_ms
            if self.table.windowed:
                about["final_to"] = self._watermark_ms - self.table.lateness_ms
        if self._expired_below:
            about["expired_below"] = self._expired_below.hex()
        return about
