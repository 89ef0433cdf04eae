"""Windows that are their keys' own business: windows of so many rows, and running aggregates of all time.

    row of key k ──► dirty[k]     the running accumulator, changed since the last checkpoint: one look-up
                       │ miss
                     live[k]      in memory, unchanged since
                       │ miss, and not everything is in memory
                     store        one row per key: the finished panes of its open window, then the running one

A count window of several panes (`slide` smaller than `size`) keeps its finished panes in `_done`.

With `within` a count window that is not full fires when the watermark is so far beyond its first event: at once when it
is so already.

With a retention a key is forgotten at the first border that is a retention behind its last row; there are 16 borders
per retention, so it lives at most a sixteenth longer:

    border b · step         step = retention / 16              key goes at b = ceil((seen + retention) / step)

A key has one entry in an agenda, and moves on when that comes up and it has had rows since: rows cost nothing. Until
the checkpoint that deletes its row is in the store, the store is not asked for it.
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.engine.early import Early, Windows
from streamflow.engine.fold_table import NEVER, Fire, Reached, live_max
from streamflow.engine.open_count import OpenCount
from streamflow.kit.agenda import Agenda
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Firing, Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import checked_key_bytes, key_bytes, key_from_bytes
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout

#: Borders per retention at which keys are forgotten.
_BORDERS = 16


class KeyedFold:
    """A FoldTable of count windows and of running aggregates.

    Accumulators carry `last` (greatest event time); of count windows `number` (of the key's windows, from 0), `count`
    and `start` (smallest event time) too, and with a retention `seen` (the key's greatest event time). `fire` takes
    count windows the moment they are full. border_moved: told a watermark at which one is due that is not full.
    watermark_now: the task's up to this event, below every time while tables are being closed (then `close` will come).
    """

    def __init__(
        self,
        table: TablePlan,
        fold: Fold,
        layout: AccumulatorLayout,
        store: Store,
        key_type: FieldType,
        fire: Fire,
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
    ) -> None:
        self.name = table.name
        self.layout = layout
        self._fold, self._fire, self._store = fold, fire, store
        self._border_moved, self._watermark_now = border_moved, watermark_now
        #: Count windows that are not full, by the time at which they fire.
        self._within = fold.window.within_ms if isinstance(fold.window, Counted) else 0
        self._waiting = Agenda()
        self._integer_keys = key_type is FieldType.INT
        self._live: dict[Any, Any] = {}
        self._dirty: dict[Any, Any] = {}
        self._done: dict[Any, list[Any]] = {}
        self._complete = False
        self._early = Early(fold.early_ms)
        self._is_taken = False
        self._opened = OpenCount(fold, "keys have windows here", self._count_open)
        self._retention = fold.retention_ms
        self._step = max(1, fold.retention_ms // _BORDERS)
        self._seen: Callable[[Any], int] = attrgetter("seen" if fold.keeps_seen else "last")
        self._agenda = Agenda()
        self._watermark = -NEVER
        #: The same, before the end of a bounded run: results of running aggregates are not earlier, as they say how
        #: things stand now.
        self.now = -NEVER
        #: Keys forgotten since the last checkpoint, and by checkpoints that are not in the store yet.
        self._gone: dict[Any, None] = {}
        self._leaving: dict[Any, None] = {}
        #: The running accumulator of a key, when it changed since the last checkpoint.
        self.get = self._dirty.get
        if isinstance(fold.window, Counted):
            self._panes = fold.window.size // fold.window.pane
            self._panes_per_slide = fold.window.slide // fold.window.pane

    def open_at(self, watermark_ms: int) -> None:
        """A store without a row of the table needs no reads at all. With a retention, every row is looked at."""
        self._complete = next(self._store.scan(self.name), None) is None
        if not self._complete:
            self._opened.restore(self._store.rows_max())
        self._watermark = watermark_ms
        self.now = min(watermark_ms, END_OF_TIME)
        if self._retention or self._within:
            for stored, raw in self._store.scan(self.name):
                key, running = key_from_bytes(stored, self._integer_keys), self.layout.decode_all(raw)[-1]
                if self._retention:
                    self._agenda.want(key, self._due_ms(running))
                if self._within and running.count:
                    self._waiting.want(key, running.start + self._within)

    def _count_open(self) -> int:
        """Counts all keys anew."""
        apart = self._live.keys() | self._gone.keys() | self._leaving.keys()
        stored = () if self._complete else self._store.scan(self.name)
        return len(self._live) + sum(key_from_bytes(key, self._integer_keys) not in apart for key, _ in stored)

    def resume(self, rows: int, told_ms: int) -> None:
        """As in PaneTable; keys are forgotten behind early results."""
        self._early.resume(told_ms, rows)
        self._watermark = told_ms

    def next_border(self, watermark_ms: int) -> int:
        """The next early firing, end of a batch, or border at which keys are forgotten."""
        border = self._early.next_border(watermark_ms)
        if self._within:
            border = max(self._waiting.first_ms, watermark_ms + 1)
        return min(border, self._border_after(watermark_ms)) if self._retention else border

    @property
    def moment(self) -> int:
        """`now` up to this event: `close` hears of it at borders and checkpoints only, and results go by neither."""
        watermark_ms = self._watermark_now()
        return max(self.now, watermark_ms) if watermark_ms < END_OF_TIME else self.now

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
                self._opened.add()
                accumulator = self.layout.new()
                if self._retention:
                    self._agenda.want(key, self._border_after(self._watermark))  # when its row is there
            self._live[key] = accumulator
        self._dirty[key] = accumulator
        return accumulator

    def _load(self, key: Any) -> Any:
        """A key's accumulator in the store, None when there is none; its finished panes go to `_done`."""
        data = checked_key_bytes(key)
        absent = self._complete or key in self._gone or key in self._leaving
        raw = None if absent else self._store.get(self.name, data)
        if raw is None:
            return None
        *done, running = self.layout.decode_all(raw)
        if done:
            self._done[key] = done
        return running

    def waits(self, key: Any, time_ms: int) -> bool:
        """A row is the first one of its window in time; whether that is over already."""
        due = time_ms + self._within
        if self._waiting.want(key, due):
            self._border_moved(due)
        return due <= self._watermark_now()

    def full(self, key: Any) -> None:
        """The running pane has all its rows, or waits no more: go on with a new one; a complete window is given."""
        pane = self._dirty[key]
        if pane.count < self._fold.window.pane:  # type: ignore[union-attr]
            pane.last = max(pane.last, pane.start + self._within - 1)
        done = self._done.setdefault(key, [])
        done.append(pane)
        number = pane.number
        if len(done) == self._panes:
            self._give(key, done, number)
            number += 1
            del done[: self._panes_per_slide]
        if not done:
            del self._done[key]
        running = self.layout.new()
        running.number = number
        if self._fold.keeps_seen:
            running.seen = pane.seen
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

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """Early results of running aggregates, and batches that time ends; then keys are forgotten."""
        if watermark_ms < END_OF_TIME:
            self.now = watermark_ms
        reached = self._early.tell(watermark_ms, self._open_windows, fire)
        if self._within:
            self._end_waiting(watermark_ms)
        if reached is None and self._retention and watermark_ms > self._watermark:
            self._watermark = watermark_ms
            self._forget_old(watermark_ms)
        return reached

    def _end_waiting(self, watermark_ms: int) -> None:
        """Fire windows that have waited long enough; entries of earlier windows of a key move on."""
        while (found := self._waiting.pop(watermark_ms)) is not None:
            time_ms, key = found
            running = self._live.get(key) or self._load(key)
            if running is None or not running.count:
                continue
            if running.start + self._within > time_ms:
                self._waiting.want(key, running.start + self._within)
            else:
                self.touch(key)
                self.full(key)

    def _border_after(self, watermark_ms: int) -> int:
        return watermark_ms - watermark_ms % self._step + self._step

    def _due_ms(self, running: Any) -> int:
        """The border at which a key goes if no row comes."""
        return -((self._seen(running) + self._retention) // -self._step) * self._step

    def _forget_old(self, watermark_ms: int) -> None:
        """Forget the keys whose border has come; those that had rows meanwhile move on."""
        while (found := self._agenda.pop(watermark_ms)) is not None:
            key = found[1]
            running = self._live.get(key) or self._load(key)
            if running is None:
                continue  # its row is on its way out of the store already
            if self._due_ms(running) > watermark_ms:
                self._agenda.want(key, self._due_ms(running))
            else:
                self._forget(key)

    def _forget(self, key: Any) -> None:
        for rows in (self._live, self._dirty, self._done):
            rows.pop(key, None)
        self._gone[key] = None
        self._opened.close(1)

    def _open_windows(self) -> Windows:
        """Every running aggregate, by key."""
        while not self._complete and (self._dirty or self._gone or self._is_taken):
            yield None  # the store gives the order, so it has to have all
        yield self.now, self.now, self._open_rows()

    def _open_rows(self) -> Iterator[tuple[Any, Any]]:
        live = self._live
        if self._complete:
            yield from ((key, live[key]) for key in sorted(live, key=key_bytes))
            return
        for stored, raw in self._store.scan(self.name):
            key = key_from_bytes(stored, self._integer_keys)
            yield key, live[key] if key in live else self.layout.decode_all(raw)[-1]

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Running aggregates that changed."""
        if self._fold.firing is Firing.UPDATE and self._dirty:
            fire(self.now, self.now, list(self._dirty.items()), False)

    def untold_count(self) -> int:
        """Results that the next `show` gives."""
        return len(self._dirty) if self._fold.firing is Firing.UPDATE else 0

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Every key that changed."""
        self._is_taken = True
        if not self._dirty and not self._gone:
            return None
        done = self._done
        changes: list[Change] = [(checked_key_bytes(key), None) for key in self._gone if key not in self._dirty]
        self._leaving |= self._gone
        self._gone.clear()
        changes += [
            (checked_key_bytes(key), self.layout.bytes_of_all([*done.get(key, ()), running]))
            for key, running in self._dirty.items()
        ]
        self._dirty.clear()
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Keys without a change since the last checkpoint are left to the store, when memory is full."""
        self._is_taken = False
        self._leaving.clear()
        if len(self._live) <= live_max(self.layout) or self._early.is_telling:
            return
        for key in [key for key in self._live if key not in self._dirty]:
            del self._live[key]
            self._done.pop(key, None)
        self._complete = False

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
        return len(self._live) + sum(len(panes) for panes in self._done.values())
