"""Open panes of one windowed table in one task: a write-back cache over the store.

    event ──► pane.dirty[key]          changed since the last checkpoint: one dictionary look-up per event
                │ miss
              pane.live[key]           in memory, unchanged since the last checkpoint
                │ miss, and the pane is not complete
              store.get(start, key)    written by an earlier checkpoint, dropped from memory since
                │ miss
              new accumulator

A pane is *complete* when everything it holds is in memory (it was created here and never evicted); its misses need no
read. Panes found in the store after a restart, or evicted ones, are incomplete. Rows of a checkpoint that is not yet
in the store stay in memory, so a read never misses them.

Memory is bounded by `max_live`: when more accumulators are in memory and no checkpoint is in flight, all panes but the
two newest forget what the store has.
"""

from collections.abc import Callable, Iterator
from typing import Any

from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import checked_key_bytes, key_from_bytes, pane_prefix, split_window_key
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.layout import AccumulatorLayout

#: Accumulators of one task and table kept in memory; 64 bytes and two dictionary slots each, some 150 MB.
MAX_LIVE = 1_000_000
_KEPT_PANES = 2

Touch = Callable[[Any], Any]


class Pane:
    """One pane: its start in ms and the accumulators in memory, by key value."""

    __slots__ = ("complete", "dirty", "live", "start")

    def __init__(self, start: int, complete: bool) -> None:
        self.start = start
        self.complete = complete
        self.live: dict[Any, Any] = {}
        self.dirty: dict[Any, Any] = {}


class WindowTable:
    """State of a Fold. All times in ms. Single-threaded; nothing here waits."""

    def __init__(
        self, table: TablePlan, fold: Fold, layout: AccumulatorLayout, store: Store, key_type: FieldType
    ) -> None:
        self.name = table.name
        self.layout = layout
        self.size = fold.window.size_ms
        self.offset = fold.window.offset_ms
        self.lateness = fold.allowed_lateness_ms
        self.retention = fold.retention_ms
        self.emits_updates = fold.emit == "update"
        self.closed_count = 0
        self._store = store
        self._integer_keys = key_type is FieldType.INT
        self._expired_below: int | None = None
        #: Starts below this are closed: their events are late.
        self.open_from = -(1 << 62)
        self.panes: dict[int, Pane] = {}
        #: The pane last entered: (start, end, look-up, touch). Empty at first, so that no time lies in it.
        self.current: tuple[int, int, Callable[[Any], Any], Touch] = (0, 0, _nothing, _nothing)

    # -- time ---------------------------------------------------------------------------------------------------------

    def start_of(self, time_ms: int) -> int:
        """Start of the pane that holds `time_ms`."""
        return time_ms - (time_ms - self.offset) % self.size

    def first_open(self, watermark_ms: int) -> int:
        """Start of the first open pane: a pane closes when start + size + lateness <= watermark."""
        return self.start_of(watermark_ms - self.lateness)

    def next_border(self, watermark_ms: int) -> int:
        """The next watermark at which a pane closes, whether or not that pane holds anything."""
        return self.first_open(watermark_ms) + self.size + self.lateness

    def open_at(self, watermark_ms: int) -> None:
        """Continue at a watermark: find the open panes in the store, skipping from pane to pane."""
        self.open_from = self.first_open(watermark_ms) if watermark_ms > -(1 << 61) else -(1 << 62)
        lower = pane_prefix(self.open_from) if self.open_from > -(1 << 61) else b""
        while True:
            row = next(self._store.scan(self.name, lower), None)
            if row is None:
                return
            start, _ = split_window_key(row[0])
            self.panes[start] = Pane(start, False)
            lower = pane_prefix(start + 1)

    # -- the fold's slow path -----------------------------------------------------------------------------------------

    def enter(self, time_ms: int) -> tuple[int, int, Callable[[Any], Any], Touch]:
        """Pane of `time_ms` as (start, end, look-up among the changed, touch); created when missing."""
        start = self.start_of(time_ms)
        pane = self.panes.get(start)
        if pane is None:
            # Every open pane of the store was listed by open_at, so an unknown one is new and wholly in memory.
            pane = self.panes[start] = Pane(start, True)
        return start, start + self.size, pane.dirty.get, self._touch_of(pane)

    def _touch_of(self, pane: Pane) -> Touch:
        live, dirty, new = pane.live, pane.dirty, self.layout.new

        def touch(key: Any) -> Any:
            accumulator = live.get(key)
            if accumulator is None:
                data = checked_key_bytes(key)
                if not pane.complete:
                    raw = self._store.get(self.name, pane_prefix(pane.start) + data)
                    accumulator = None if raw is None else self.layout.decode(raw)
                if accumulator is None:
                    accumulator = new()
                live[key] = accumulator
            dirty[key] = accumulator
            return accumulator

        return touch

    # -- closing ------------------------------------------------------------------------------------------------------

    def due(self, watermark_ms: int) -> list[int]:
        """Starts of the panes that close at this watermark, oldest first; moves `open_from`."""
        open_from = self.first_open(watermark_ms)
        if open_from <= self.open_from:
            return []
        self.open_from = open_from
        return sorted(start for start in self.panes if start < open_from)

    def rows(self, start: int) -> Iterator[tuple[Any, Any]]:
        """(key, accumulator) of everything in the pane, memory over store."""
        pane = self.panes[start]
        if not pane.complete:
            decode, live = self.layout.decode, pane.live
            for stored, raw in self._store.scan(self.name, pane_prefix(start), pane_prefix(start + 1)):
                key = key_from_bytes(split_window_key(stored)[1], self._integer_keys)
                if key not in live:
                    live[key] = decode(raw)
            pane.complete = True
        return iter(list(pane.live.items()))

    def drop(self, start: int) -> list[Change]:
        """Forget a closed pane; what it changed since the last checkpoint still has to be written."""
        pane = self.panes.pop(start)
        self.closed_count += 1
        return self._changes_of(pane)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def changed(self) -> list[tuple[int, list[tuple[Any, Any]]]]:
        """(start, changed rows) of every open pane, for updates."""
        return [(pane.start, list(pane.dirty.items())) for pane in self.panes.values() if pane.dirty]

    def take_changes(self, closed: list[Change], watermark_ms: int) -> TableChanges | None:
        """Everything changed since the last call, `closed` panes' rows first, and what retention lets go."""
        changes = closed
        for pane in self.panes.values():
            if pane.dirty:
                changes += self._changes_of(pane)
                pane.dirty.clear()
        expire_below = self._expiry(watermark_ms)
        if not changes and expire_below is None:
            return None
        return TableChanges(self.name, changes, expire_below)

    def _changes_of(self, pane: Pane) -> list[Change]:
        prefix = pane_prefix(pane.start)
        try:
            return self._encoded(pane, prefix, self.layout.encode)
        except OverflowError:
            return self._encoded(pane, prefix, self.layout.encode_large)

    def _encoded(self, pane: Pane, prefix: bytes, encode: Callable[[Any], bytes]) -> list[Change]:
        if self._integer_keys:
            return [(prefix + b"%d" % key, encode(row)) for key, row in pane.dirty.items()]
        return [(prefix + key.encode(), encode(row)) for key, row in pane.dirty.items()]

    def _expiry(self, watermark_ms: int) -> bytes | None:
        if watermark_ms < -(1 << 61):
            return None
        limit = min(self.start_of(watermark_ms - self.retention), self.open_from)
        if self._expired_below is not None and limit <= self._expired_below:
            return None
        self._expired_below = limit
        return pane_prefix(limit)

    def evict(self) -> None:
        """Bound memory. Call only when everything taken is in the store."""
        if self.live_count <= MAX_LIVE:
            return
        for start in sorted(self.panes)[:-_KEPT_PANES]:
            pane = self.panes[start]
            pane.live.clear()
            pane.live.update(pane.dirty)
            pane.complete = False

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
        return sum(len(pane.live) for pane in self.panes.values())


def _nothing(_key: Any) -> Any:
    """Look-up and touch of no pane; never reached, because no time lies in [0, 0)."""
    raise AssertionError("no pane was entered")
