"""Sliding windows of one task: a PaneTable whose panes belong to several windows.

A window that fires is the merge of its panes (`sliding_merge.py`). An event that is too late for some windows of its
pane, but not for all, goes into a *late pane* beside it, named after the first window that takes it; whatever fires
from then on has both, and what had closed keeps what it was (`windows/pane_rows.py`).
"""

from collections.abc import Iterator
from typing import Any

from streamflow.engine import fold_table
from streamflow.engine.early import Windows
from streamflow.engine.fold_table import NEVER, Fire, Reached
from streamflow.engine.pane_table import Current, Pane, PaneTable, Touch
from streamflow.engine.sliding_merge import SlidingMerge
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Firing, Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import checked_key_bytes, key_bytes, pane_prefix
from streamflow.state.store import Change, Store
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.pane_rows import ON_TIME, PaneRows, Part


class SharedPane(Pane):
    """A pane with its late panes, by the first window that has them."""

    __slots__ = ("late",)

    def __init__(self, start: int, end: int, complete: bool) -> None:
        super().__init__(start, end, complete)
        self.late: dict[int, Pane] = {}

    def all(self) -> list[Pane]:
        """The pane itself and its late ones."""
        return [self, *self.late.values()]

    def held_keys(self) -> dict[Any, Any]:
        """Keys in memory."""
        return dict.fromkeys(key for each in self.all() for key in each.live) if self.late else self.live

    def changed(self) -> dict[Any, None]:
        """Keys changed since the last checkpoint and not told since."""
        return dict.fromkeys(key for each in self.all() for key in each.dirty)

    @property
    def changed_count(self) -> int:
        """As in Pane."""
        return sum(len(each.dirty) for each in self.all())

    def late_pane(self, since: int) -> Pane:
        """The late pane of the windows from `since` on; made when missing."""
        found = self.late.get(since)
        if found is None:
            found = self.late[since] = Pane(self.start, self.end, True)
        return found


class SlidingTable(PaneTable):
    """A FoldTable of sliding windows."""

    panes: dict[int, SharedPane]  # type: ignore[assignment]

    def __init__(
        self, table: TablePlan, fold: Fold, layout: AccumulatorLayout, store: Store, key_type: FieldType
    ) -> None:
        super().__init__(table, fold, layout, store, key_type)
        self._rows_of = PaneRows(layout)
        self._merge = SlidingMerge(layout, self._value_of)

    def _pane(self, start: int, end: int, complete: bool) -> Pane:
        return SharedPane(start, end, complete)

    def _entered(self, time_ms: int) -> Current:
        """As in PaneTable; the late pane when the first windows of the pane have closed."""
        start, end, look_up, touch = super()._entered(time_ms)
        if self.shape.start_of_end(self.shape.next_end(start)) >= self.open_from:
            return start, end, look_up, touch
        pane = self.panes[start]
        late = pane.late_pane(self.open_from)
        return start, end, late.dirty.get, self._touch(pane, late)

    def _touch_of(self, pane: Pane) -> Touch:
        assert isinstance(pane, SharedPane)
        return self._touch(pane, pane)

    def _touch(self, pane: SharedPane, part: Pane) -> Touch:
        live, dirty, new, touched = part.live, part.dirty, self.layout.new, self._touched
        merge, start = self._merge, pane.start

        def touch(key: Any) -> Any:
            accumulator = live.get(key)
            if accumulator is None:
                checked_key_bytes(key)
                if not pane.complete:
                    self._load(pane, key)
                    accumulator = live.get(key)
                if accumulator is None:
                    self._count_new(pane, key)
                    accumulator = live[key] = new()
            if start < merge.taken_to:
                merge.forget(key)
            dirty[key] = accumulator
            touched[start] = pane
            return accumulator

        return touch

    def _load(self, pane: SharedPane, key: Any) -> None:
        """Bring all parts of a key's row into memory, where that is not newer."""
        if pane.complete or any(key in each.live for each in pane.all()):
            return
        raw = self._store.get(self.name, pane_prefix(pane.start) + key_bytes(key))
        if raw is not None:
            self._place(pane, key, raw)

    def _place(self, pane: SharedPane, key: Any, raw: bytes) -> None:
        for since, accumulator in self._rows_of.decode(raw):
            part = pane if since is None else pane.late_pane(since)
            part.live[key] = accumulator

    def _complete(self, pane: Pane) -> None:
        """Bring everything that the store has of a pane into memory; memory is newer."""
        assert isinstance(pane, SharedPane)
        if pane.complete:
            return
        known = dict.fromkeys(pane.held_keys())
        for key, raw in self._stored(pane):
            if key not in known:
                self._place(pane, key, raw)
        pane.complete = True

    def _value_of(self, pane: SharedPane, key: Any) -> Any:
        """Accumulator of a key in a pane, late parts included; None when it has none."""
        self._load(pane, key)
        if not pane.late:
            return pane.live.get(key)
        held = [each.live[key] for each in pane.all() if key in each.live]
        return self.layout.merged(held) if held else None

    # -- firing -------------------------------------------------------------------------------------------------------

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """As in PaneTable; rows of the pane last entered may be too late for a window now."""
        reached = super().close(watermark_ms, fire)
        if self.current[0] < self.open_from:
            self.current = (0, 0, *self.current[2:])
        return reached

    def _due_rows(self, start: int, end: int) -> Iterator[tuple[Any, Any]] | None:
        rows = self._merge.rows(start, end, self._panes_in(start, end))
        if self._left or len(rows) >= fold_table.CLOSING_ROWS:
            rows.sort(key=lambda row: key_bytes(row[0]))
        return iter(rows)

    def _settle(self, pane: Pane) -> None:
        assert isinstance(pane, SharedPane)
        for each in pane.all():
            each.settle()

    def _open_windows(self) -> Windows:
        for start, end in self._windows(self._fired_to, NEVER - 1):
            panes = self._panes_in(start, end)
            keys = dict.fromkeys(key for pane in panes for key in pane.held_keys())
            yield start, end, self._whole_rows(panes, sorted(keys, key=key_bytes))

    def _whole_rows(self, panes: list[SharedPane], keys: list[Any]) -> Iterator[tuple[Any, Any]]:
        for key in keys:
            yield key, self._merge.whole(panes, key)

    def _panes_in(self, start: int, end: int) -> list[SharedPane]:
        """Complete panes of a window, ascending."""
        panes = [self.panes[begin] for begin in sorted(self.panes) if start <= begin < end]
        for pane in panes:
            self._complete(pane)
        return panes

    def _correct(self, after_ms: int, upto_ms: int, fire: Fire) -> None:
        for pane in self.panes.values():
            if self.shape.next_end(pane.start) <= upto_ms:
                for accumulator in (row for each in pane.all() for row in each.dirty.values()):
                    accumulator.revision += 1
        for start, end, changed in self._changed_windows(after_ms, upto_ms):
            fire(start, end, changed, True)

    def _changed_windows(self, after_ms: int, upto_ms: int) -> Iterator[tuple[int, int, list[tuple[Any, Any]]]]:
        changed: dict[int, dict[Any, None]] = {}
        for pane in self.panes.values():
            keys = pane.changed()
            if self._fold.firing is Firing.UPDATE:
                keys |= dict.fromkeys(key for each in pane.all() for key in each.settled)
            last = min(self.shape.last_end(pane.start), upto_ms)
            end = self.shape.next_end(max(after_ms, pane.start))
            while keys and end <= last:
                changed.setdefault(end, {}).update(keys)
                end = self.shape.next_end(end)
        for end in sorted(changed):
            start = self.shape.start_of_end(end)
            panes = self._panes_in(start, end)
            yield start, end, [(key, self._merge.whole(panes, key)) for key in changed[end]]

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _changes_of(self, pane: Pane) -> list[Change]:
        assert isinstance(pane, SharedPane)
        if not pane.late:
            return [(place, row and ON_TIME + row) for place, row in super()._changes_of(pane)]
        parts: list[tuple[int | None, Pane]] = [(None, pane), *sorted(pane.late.items())]
        keys = dict.fromkeys(key for _, each in parts for rows in (each.settled, each.dirty) for key in rows)
        prefix, changes = pane_prefix(pane.start), list[Change]()
        for key in keys:
            row: list[Part] = [(since, each.live[key]) for since, each in parts if key in each.live]
            changes.append((prefix + key_bytes(key), self._rows_of.encode(row)))
        for each in pane.late.values():
            each.dirty.clear()
            each.settled.clear()
        return changes

    def _evict_pane(self, pane: Pane) -> None:
        assert isinstance(pane, SharedPane)
        kept = {key for each in pane.all() for rows in (each.settled, each.dirty) for key in rows}
        for each in pane.all():
            for key in [key for key in each.live if key not in kept]:
                del each.live[key]
        pane.complete = False

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
        return sum(len(each.live) for pane in self.panes.values() for each in pane.all())
