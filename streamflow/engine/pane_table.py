"""Windows side by side, with borders that all keys share: panes in one task, a write-back cache over the store.

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

    a window [start, end)     open ───────────────► fired ──────────────────────────► closed
                                    end + fire lag         end + allowed lateness
                                    <= watermark           <= watermark

Rows that change after their window fired are corrections. They are told apart by `pane.settled`: what was dirty when a
window fired is moved there, so that whatever is dirty later came later. Both are written.

A pane that fires too much for one checkpoint fires from the store, in slices, in the order of its keys: so a count of
rows says where it is, also after a crash. What it changed goes to the store first, in a checkpoint of its own.

Memory is bounded by `live_max`: when more accumulators are in memory and no checkpoint is in flight, all panes but the
two newest forget what the store has.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

from streamflow.engine import fold_table
from streamflow.engine.early import Early, Windows
from streamflow.engine.fold_table import NEVER, Fire, Reached, live_max, refuse_window
from streamflow.engine.open_count import OpenCount
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Firing, Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import checked_key_bytes, key_bytes, key_from_bytes, pane_prefix, split_window_key
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.shape import PANE_SHAPES

_KEPT_PANES = 2
_MAX_CELLS = 4_096
_LONG_AGO = -(1 << 61)

Touch = Callable[[Any], Any]
Current = tuple[int, int, Callable[[Any], Any], Touch]


class Pane:
    """One pane: its borders in ms and the accumulators in memory, by key value. `count`: those in its OpenCount."""

    __slots__ = ("complete", "count", "dirty", "end", "live", "settled", "start")

    def __init__(self, start: int, end: int, complete: bool) -> None:
        self.start, self.end = start, end
        self.complete = complete
        self.count = 0
        self.live: dict[Any, Any] = {}
        self.dirty: dict[Any, Any] = {}
        self.settled: dict[Any, Any] = {}

    def held_keys(self) -> dict[Any, Any]:
        """Keys in memory."""
        return self.live

    @property
    def changed_count(self) -> int:
        """Accumulators that changed and are not told."""
        return len(self.dirty)

    def settle(self) -> None:
        """What changed so far is told; further changes come through `touch` again."""
        self.settled.update(self.dirty)
        self.dirty.clear()


class PaneTable:
    """A FoldTable of tumbling and calendar windows; `SlidingTable` builds on it."""

    def __init__(
        self, table: TablePlan, fold: Fold, layout: AccumulatorLayout, store: Store, key_type: FieldType
    ) -> None:
        assert isinstance(fold.window, PANE_SHAPES)
        self.name = table.name
        self.layout = layout
        self.shape = fold.window
        self._fold = fold
        self._lateness = fold.allowed_lateness_ms
        self._fire_lag = fold.fire_lag_ms
        self._store = store
        self._integer_keys = key_type is FieldType.INT
        self._expired_below: int | None = None
        self._closed: list[Change] = []
        self._fired_to = self._closed_to = -NEVER
        self._early = Early(fold.early_ms)
        self._opened = OpenCount(fold, "windows are open in this task", self._count_open)
        #: Of the window that fires in slices: rows that have left, and those to come, None before they are sought.
        self._left = 0
        self._coming: Iterator[tuple[Any, Any]] | None = None
        self._firing_end = -NEVER
        self._is_taken = False
        #: Starts below this are closed: their events are late.
        self.open_from = -NEVER
        self.panes: dict[int, Pane] = {}
        #: Those with rows that changed since the last checkpoint: there may be many more.
        self._touched: dict[int, Pane] = {}
        #: A pane entered before: (start, end, look-up, touch). Empty at first, so that no time lies in it.
        self.current: Current = (0, 0, _nothing, _nothing)
        #: Panes entered since a window last closed, by `time // cell_ms`; for disorder around borders.
        self.cells: dict[int, Current] = {}

    # -- time ---------------------------------------------------------------------------------------------------------

    def _first_open(self, watermark_ms: int) -> int:
        """Start of the first pane of a window that still takes rows."""
        return self.shape.start_of_end(self.shape.next_end(watermark_ms - self._lateness))

    def next_border(self, watermark_ms: int) -> int:
        """The next watermark at which a window fires or closes, whether or not it holds anything."""
        border = self.shape.next_end(watermark_ms - self._fire_lag) + self._fire_lag
        if self._lateness != self._fire_lag:
            border = min(border, self.shape.next_end(watermark_ms - self._lateness) + self._lateness)
        return min(border, self._early.next_border(watermark_ms))

    def open_at(self, watermark_ms: int) -> None:
        """Find the open panes in the store, skipping from pane to pane."""
        lower = b""
        if watermark_ms > _LONG_AGO:
            self.open_from = self._first_open(watermark_ms)
            self._fired_to = watermark_ms - self._fire_lag
            self._closed_to = watermark_ms - self._lateness
            lower = pane_prefix(self.open_from)
        while True:
            row = next(self._store.scan(self.name, lower), None)
            if row is None:
                break
            start, _ = split_window_key(row[0])
            self.panes[start] = self._pane(start, self.shape.pane_of(start)[1], False)
            lower = pane_prefix(start + 1)
        if self.panes:
            self._opened.restore(self._store.rows_max())

    def _count_open(self) -> int:
        """Counts all panes anew."""
        for pane in self.panes.values():
            held = pane.held_keys()
            away = () if pane.complete else self._stored(pane)
            pane.count = len(held) + sum(key not in held for key, _ in away)
        return sum(pane.count for pane in self.panes.values())

    def _pane(self, start: int, end: int, complete: bool) -> Pane:
        return Pane(start, end, complete)

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """From the last moment of the row's last window to the watermark."""
        return watermark_ms - self.shape.last_end(time_ms) - self._lateness

    # -- the fold's slow path -----------------------------------------------------------------------------------------

    def enter(self, time_ms: int) -> Current:
        """Pane of `time_ms` as (start, end, look-up among the changed, touch); created when missing."""
        if len(self.cells) >= _MAX_CELLS:
            self.cells.clear()
        self.current = self.cells[time_ms // self.shape.cell_ms] = self._entered(time_ms)
        return self.current

    def _entered(self, time_ms: int) -> Current:
        start, end = self.shape.pane_of(time_ms)
        pane = self.panes.get(start)
        if pane is None:
            # Every open pane of the store was listed by open_at, so an unknown one is new and wholly in memory.
            pane = self.panes[start] = self._pane(start, end, True)
        return start, end, pane.dirty.get, self._touch_of(pane)

    def _touch_of(self, pane: Pane) -> Touch:
        live, dirty, new, touched = pane.live, pane.dirty, self.layout.new, self._touched

        def touch(key: Any) -> Any:
            accumulator = live.get(key)
            if accumulator is None:
                data = checked_key_bytes(key)
                if not pane.complete:
                    raw = self._store.get(self.name, pane_prefix(pane.start) + data)
                    accumulator = None if raw is None else self.layout.decode(raw)
                if accumulator is None:
                    self._count_new(pane, key)
                    accumulator = new()
                live[key] = accumulator
            dirty[key] = accumulator
            touched[pane.start] = pane
            return accumulator

        return touch

    def _count_new(self, pane: Pane, key: Any) -> None:
        fold = self._fold
        if fold.max_open_per_key:
            held = sum(self._holds(each, key) for each in self.panes.values())
            if held >= fold.max_open_per_key:
                refuse_window(fold, f"{held} windows of this key are open, max_open_per_key allows no more")
        self._opened.add()
        pane.count += 1

    def _holds(self, pane: Pane, key: Any) -> bool:
        if key in pane.live or pane.complete:
            return key in pane.live
        return self._store.get(self.name, pane_prefix(pane.start) + checked_key_bytes(key)) is not None

    # -- firing and closing -------------------------------------------------------------------------------------------

    def resume(self, rows: int, told_ms: int) -> None:
        """The task came back, maybe within a closing: `rows` of its Reached; early results are told to `told_ms`."""
        self._early.resume(told_ms, rows)
        self._left = max(0, rows)

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """Fire the windows that are due, oldest first; drop the panes that no open window has."""
        self.cells.clear()
        if not self._fire_due(watermark_ms - self._fire_lag, fire):
            return Reached(self._fired_to + self._fire_lag, self._left)
        reached = self._early.tell(watermark_ms, self._open_windows, fire)
        if reached is not None:
            return reached
        self._closed_to = watermark_ms - self._lateness
        open_from = self._first_open(watermark_ms)
        if open_from > self.open_from:
            self.open_from = open_from
            for start in sorted(start for start in self.panes if start < open_from):
                self._drop(start)
        return None

    def _fire_due(self, upto_ms: int, fire: Fire) -> bool:
        """Fire windows whose end lies in (fired_to, upto]; empty ones are skipped without looking at each.

        Whether that is all: else there is more for behind a checkpoint.
        """
        before = self._fired_to
        if upto_ms <= before:
            return True
        if self._fold.corrects:
            self._correct(self._closed_to, before, fire)  # before some of them close
            self._settle_to(before)
        is_all = self._fire_windows(upto_ms, fire)
        if self._fold.corrects:
            self._settle_to(self._fired_to)
        return is_all

    def _fire_windows(self, upto_ms: int, fire: Fire) -> bool:
        room = fold_table.CLOSING_ROWS
        for start, end in self._windows(self._fired_to, upto_ms):
            if room <= 0:
                return False
            fired, is_whole = self._fire_window(start, end, fire)
            if not is_whole:
                return False
            room -= fired
            self._fired_to = end
        self._fired_to = upto_ms
        return True

    def _settle_to(self, upto_ms: int) -> None:
        """What windows that have fired up to then hold is told."""
        for pane in self.panes.values():
            if self.shape.next_end(pane.start) <= upto_ms:
                self._settle(pane)

    def _fire_window(self, start: int, end: int, fire: Fire) -> tuple[int, bool]:
        """(rows that left, whether no more are to come)."""
        if self._coming is None:
            rows = self._due_rows(start, end)
            if rows is None:
                return 0, False
            self._coming, self._firing_end = islice(rows, self._left, None), end
        fired = list(islice(self._coming, fold_table.CLOSING_ROWS))
        fire(start, end, fired, True)
        self._left += len(fired)
        if len(fired) == fold_table.CLOSING_ROWS:
            return len(fired), False
        self._left, self._coming = 0, None
        return len(fired), True

    def _due_rows(self, start: int, end: int) -> Iterator[tuple[Any, Any]] | None:
        """Rows of a window that fires, by key if they are many; None: behind the next checkpoint."""
        pane = self.panes[start]
        if self._left == 0 and self._is_small(pane):
            return iter(self._rows(start, end))
        if pane.dirty or pane.settled or self._is_taken:
            return None
        pane.live.clear()
        pane.complete = False
        return self._stored_rows(pane)

    def _is_small(self, pane: Pane) -> bool:
        """Whether all rows may fire at once."""
        most = fold_table.CLOSING_ROWS - 1 - len(pane.live)
        if pane.complete or most < 0:
            return most >= 0
        stored = self._store.scan(self.name, pane_prefix(pane.start), pane_prefix(pane.start + 1))
        return sum(1 for _ in islice(stored, most + 1)) <= most

    def _windows(self, after_ms: int, upto_ms: int) -> Iterator[tuple[int, int]]:
        """(start, end) of the windows that hold a pane and end in (after, upto], oldest first."""
        starts = sorted(self.panes)
        end = self.shape.next_end(max(after_ms, starts[0])) if starts else NEVER
        while end <= upto_ms:
            start = self.shape.start_of_end(end)
            at = bisect_left(starts, start)
            if at == len(starts):
                return
            if starts[at] < end:
                yield start, end
                end = self.shape.next_end(end)
            else:
                end = self.shape.next_end(starts[at])

    def _settle(self, pane: Pane) -> None:
        pane.settle()

    def _rows(self, start: int, _end: int) -> Iterable[tuple[Any, Any]]:
        """(key, accumulator) of everything in a window that fires; of the store's rows, one at a time is in memory."""
        pane = self.panes[start]
        return pane.live.items() if pane.complete else chain(pane.live.items(), self._stored_rows(pane))

    def _stored_rows(self, pane: Pane) -> Iterator[tuple[Any, Any]]:
        """What only the store has of a pane: memory is newer."""
        return ((key, self.layout.decode(raw)) for key, raw in self._stored(pane) if key not in pane.live)

    def _stored(self, pane: Pane) -> Iterator[tuple[Any, bytes]]:
        """(key, row) of all that the store has of a pane, by key."""
        for stored, raw in self._store.scan(self.name, pane_prefix(pane.start), pane_prefix(pane.start + 1)):
            yield key_from_bytes(split_window_key(stored)[1], self._integer_keys), raw

    def _open_windows(self) -> Windows:
        """The windows that are still open, oldest first, rows by key."""
        for start, end in self._windows(self._fired_to, NEVER - 1):
            pane = self.panes[start]
            while not pane.complete and (pane.dirty or pane.settled or self._is_taken):
                yield None  # the store gives the order, so it has to have all
            yield start, end, self._ordered_rows(pane)

    def _ordered_rows(self, pane: Pane) -> Iterator[tuple[Any, Any]]:
        """(key, accumulator) of a pane by key; of a pane that is not complete the store has all keys."""
        live = pane.live
        if pane.complete:
            return ((key, live[key]) for key in sorted(live, key=key_bytes))
        return ((key, live[key] if key in live else self.layout.decode(raw)) for key, raw in self._stored(pane))

    def _drop(self, start: int) -> None:
        """Forget a closed pane; what it changed since the last checkpoint still has to be written."""
        pane = self.panes.pop(start)
        self._touched.pop(start, None)
        self._opened.close(pane.count)
        self._closed += self._changes_of(pane)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Updates of open windows, or corrections of fired ones."""
        if self._fold.firing is Firing.UPDATE:
            told_to = self._fired_to if self._coming is None else self._firing_end
            for start, end, changed in self._changed_windows(told_to, NEVER - 1):
                fire(start, end, changed, False)
        elif self._fold.corrects:
            self._correct(self._closed_to, self._fired_to, fire)

    def _correct(self, after_ms: int, upto_ms: int, fire: Fire) -> None:
        """Tell fired windows that end in (after, upto] and have changed since, with their next revision."""
        for pane in self.panes.values():
            if pane.dirty and self.shape.next_end(pane.start) <= upto_ms:
                for accumulator in pane.dirty.values():
                    accumulator.revision += 1
        for start, end, changed in self._changed_windows(after_ms, upto_ms):
            fire(start, end, changed, True)

    def _changed_windows(self, after_ms: int, upto_ms: int) -> Iterator[tuple[int, int, list[tuple[Any, Any]]]]:
        """(start, end, changed rows) of windows with changed rows that end in (after, upto], oldest first."""
        for start in sorted(self.panes):
            pane = self.panes[start]
            if pane.dirty and after_ms < pane.end <= upto_ms:
                yield start, pane.end, list(pane.dirty.items())

    def untold_count(self) -> int:
        """Results that the next `show` gives, roughly: every changed row times its windows."""
        upto_ms = NEVER if self._fold.firing is Firing.UPDATE else self._fired_to
        panes = self._touched.values()
        changed = sum(pane.changed_count for pane in panes if self.shape.next_end(pane.start) <= upto_ms)
        return changed * self._fold.told_per_row

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Rows of closed panes first, then of the open ones."""
        self._is_taken = True
        changes, self._closed = self._closed, []
        for pane in self.panes.values():
            changes += self._changes_of(pane)
            pane.dirty.clear()
            pane.settled.clear()
        self._touched.clear()
        expire_below = self._expiry(watermark_ms)
        if not changes and expire_below is None:
            return None
        return TableChanges(self.name, changes, expire_below)

    def _changes_of(self, pane: Pane) -> list[Change]:
        changed = {**pane.settled, **pane.dirty} if pane.settled else pane.dirty
        prefix = pane_prefix(pane.start)
        try:
            return self._encoded(changed, prefix, self.layout.encode)
        except OverflowError:
            return self._encoded(changed, prefix, self.layout.encode_large)

    def _encoded(self, changed: dict[Any, Any], prefix: bytes, encode: Callable[[Any], bytes]) -> list[Change]:
        if self._integer_keys:
            return [(prefix + b"%d" % key, encode(row)) for key, row in changed.items()]
        return [(prefix + key.encode(), encode(row)) for key, row in changed.items()]

    def _expiry(self, watermark_ms: int) -> bytes | None:
        if watermark_ms < _LONG_AGO:
            return None
        limit = min(self.shape.pane_of(watermark_ms - self._fold.retention_ms)[0], self.open_from)
        if self._expired_below is not None and limit <= self._expired_below:
            return None
        self._expired_below = limit
        return pane_prefix(limit)

    def evict(self) -> None:
        """All panes but the newest forget what the store has, when memory is full."""
        self._is_taken = False
        if self.live_count <= live_max(self.layout) or self._early.is_telling:
            return
        for start in sorted(self.panes)[:-_KEPT_PANES]:
            self._evict_pane(self.panes[start])

    def _evict_pane(self, pane: Pane) -> None:
        pane.live.clear()
        pane.live.update(pane.settled)
        pane.live.update(pane.dirty)
        pane.complete = False

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
        return sum(len(pane.live) for pane in self.panes.values())


def _nothing(_key: Any) -> Any:
    """Look-up and touch of no pane; never reached, because no time lies in [0, 0)."""
    raise AssertionError("no pane was entered")
