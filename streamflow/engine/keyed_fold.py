"""Windows that are their keys' own business: windows of so many rows, and running aggregates of all time.

    row of key k ──► dirty[k]     the running accumulator, changed since the last checkpoint: one look-up
                       │ miss
                     live[k]      in memory, unchanged since
                       │ miss, and not everything is in memory
                     store        one row per key: the finished panes of its open window, then the running one

A count window of several panes (`slide` smaller than `size`) keeps its finished panes in `_done`.
"""

from typing import Any

from streamflow.engine.fold_table import NEVER, Fire, live_max
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Firing, Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import checked_key_bytes, key_from_bytes
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout


class KeyedFold:
    """A FoldTable of count windows and of running aggregates.

    Accumulators carry `last` (greatest event time); of count windows `number` (of the key's windows, from 0), `count`
    and `start` (smallest event time) too. `fire` takes count windows the moment they are full.
    """

    def __init__(
        self,
        table: TablePlan,
        fold: Fold,
        layout: AccumulatorLayout,
        store: Store,
        key_type: FieldType,
        fire: Fire,
    ) -> None:
        self.name = table.name
        self.layout = layout
        self._fold, self._fire, self._store = fold, fire, store
        self._integer_keys = key_type is FieldType.INT
        self._live: dict[Any, Any] = {}
        self._dirty: dict[Any, Any] = {}
        self._done: dict[Any, list[Any]] = {}
        self._complete = False
        self._early_to = -NEVER
        self._opened = 0
        #: The running accumulator of a key, when it changed since the last checkpoint.
        self.get = self._dirty.get
        if isinstance(fold.window, Counted):
            self._panes = fold.window.size // fold.window.pane
            self._step = fold.window.slide // fold.window.pane

    def open_at(self, watermark_ms: int) -> None:
        """A store without a row of the table needs no reads at all."""
        self._complete = next(self._store.scan(self.name), None) is None
        self._early_to = watermark_ms

    def next_border(self, watermark_ms: int) -> int:
        """The next early firing; nothing else depends on time."""
        early = self._fold.early_ms
        return watermark_ms - watermark_ms % early + early if early else NEVER

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """No row is late here."""
        return 0

    # -- the fold's slow path -----------------------------------------------------------------------------------------

    def touch(self, key: Any) -> Any:
        """The running accumulator of a key, from now on among the changed."""
        accumulator = self._live.get(key)
        if accumulator is None:
            accumulator = self._load(key)
            if accumulator is None:
                if self._opened >= self._fold.max_open:
                    message = f"{self._opened} keys have windows in this task, max_open allows no more"
                    raise EventError("too_many_windows", message)
                self._opened += 1
                accumulator = self.layout.new()
            self._live[key] = accumulator
        self._dirty[key] = accumulator
        return accumulator

    def _load(self, key: Any) -> Any:
        """A key's accumulator in the store, None when there is none; its finished panes go to `_done`."""
        data = checked_key_bytes(key)
        raw = None if self._complete else self._store.get(self.name, data)
        if raw is None:
            return None
        *done, running = self.layout.decode_all(raw)
        if done:
            self._done[key] = done
        return running

    def full(self, key: Any) -> None:
        """The running pane has all its rows: go on with a new one, and give the window when it is complete."""
        pane = self._dirty[key]
        done = self._done.setdefault(key, [])
        done.append(pane)
        number = pane.number
        if len(done) == self._panes:
            self._give(key, done, number)
            number += 1
            del done[: self._step]
        if not done:
            del self._done[key]
        running = self.layout.new()
        running.number = number
        self._dirty[key] = self._live[key] = running

    def _give(self, key: Any, done: list[Any], number: int) -> None:
        whole = done[0]
        if len(done) > 1:
            whole = self.layout.new()
            whole.number, whole.start, whole.last = number, min(p.start for p in done), max(p.last for p in done)
            for pane in done:
                self.layout.merge(whole, pane)
        self._fire(0, 0, [(key, whole)], True)

    # -- firing -------------------------------------------------------------------------------------------------------

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Early results of running aggregates; nothing else is due by time."""
        early = self._fold.early_ms
        if early and watermark_ms // early > self._early_to // early:
            self._early_to = watermark_ms
            rows = [] if self._complete else self._unloaded()
            fire(0, 0, [*rows, *self._live.items()], False)

    def _unloaded(self) -> list[tuple[Any, Any]]:
        """Rows that only the store has."""
        rows = ((key_from_bytes(stored, self._integer_keys), raw) for stored, raw in self._store.scan(self.name))
        return [(key, self.layout.decode_all(raw)[-1]) for key, raw in rows if key not in self._live]

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Running aggregates that changed."""
        if self._fold.firing is Firing.UPDATE and self._dirty:
            fire(0, 0, list(self._dirty.items()), False)

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Every key that changed."""
        if not self._dirty:
            return None
        done = self._done
        changes: list[Change] = [
            (checked_key_bytes(key), self.layout.bytes_of_all([*done.get(key, ()), running]))
            for key, running in self._dirty.items()
        ]
        self._dirty.clear()
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Keys without a change since the last checkpoint are left to the store, when memory is full."""
        if len(self._live) <= live_max(self.layout):
            return
        for key in [key for key in self._live if key not in self._dirty]:
            del self._live[key]
            self._done.pop(key, None)
        self._complete = False

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
        return len(self._live) + sum(len(panes) for panes in self._done.values())
