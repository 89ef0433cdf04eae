"""A person's node in one task: KeyedRun over the store.

fused code ──► process ──► rows            border ──► close ──► timers of event time ──► rows
                 └► overdue? settle          tick ──► timers of the clock ──► rows
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.checkpoint.progress import END_OF_TIME
from streamflow.engine.fold_table import NEVER, Fire
from streamflow.errors import Problem, TopologyError
from streamflow.kit.keystate import KeyState
from streamflow.kit.process import Process
from streamflow.kit.run import Fail, Give, KeyedRun
from streamflow.logs.place import at
from streamflow.model.schema import FieldType
from streamflow.nodes import operators
from streamflow.state.keys import checked_key_bytes, key_from_bytes
from streamflow.state.store import Change, Store, TableChanges

#: Keys of one task and table kept in memory; some 700 bytes each, with a value and a timer.
MAX_LIVE = 200_000


def make_node(operator: operators.Process, name: str) -> Process:
    """The node, made and open. Raises TopologyError when the class does."""
    assert isinstance(operator.declared.target, type)
    node: Process | None = None
    try:
        node = operator.declared.target(**dict(operator.arguments))
        node.open()
    except Exception as error:
        if node is not None:
            node.close()
        what = f"{operator.declared.target.__name__} cannot be opened: {type(error).__name__}: {error}"
        raise TopologyError((Problem(f"nodes.{name}", what, "correct its `with`, or the class"),)) from error
    return node


class ProcessTable:
    """A FoldTable whose rows are what a node remembers of a key, one per key.

    border_moved: told an event time at which something is due. watermark_now: the task's up to this event, below every
    time while tables are being closed (then `close` will come). data_end: how far data came, at the end of a bounded
    run.
    """

    def __init__(
        self,
        operator: operators.Process,
        node: Process,
        store: Store,
        key_type: FieldType,
        *,
        give: Give,
        fail: Fail,
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
        data_end: Callable[[], int],
        now: Callable[[], int],
    ) -> None:
        self.name = operator.table
        #: Task and node, for log lines of timers.
        self.place: dict[str, str] = {}
        self.node = node
        self._store, self._give, self._fail = store, give, fail
        self._integer_keys = key_type is FieldType.INT
        self._border_moved, self._watermark_now, self._data_end = border_moved, watermark_now, data_end
        self._complete = True
        self._is_open = False
        self._emptied: list[Any] = []
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(KeyState).decode
        self._run = KeyedRun(
            node, operator.declared.output_type, load=self._load, news=self._news, now=now, watermark=watermark_now
        )
        #: Called by the fused code: (row, key, time) to rows.
        self.process = self._run.process
        #: Whether a timer was set for a time that has passed: then `settle` is due.
        self.overdue = False

    def open_at(self, watermark_ms: int) -> None:
        """Read all rows once: their timers are needed, and as many of them as fit stay."""
        run = self._run
        for stored, raw in self._store.scan(self.name):
            key, state = key_from_bytes(stored, self._integer_keys), self._decode(raw)
            run.register(key, state)
            if len(run.live) < MAX_LIVE:
                run.live[key] = state
            else:
                self._complete = False
        self._is_open = True

    def _load(self, key: Any) -> KeyState | None:
        data = checked_key_bytes(key)
        raw = None if self._complete else self._store.get(self.name, data)
        return None if raw is None else self._decode(raw)

    def _news(self, time_ms: int) -> None:
        if self._is_open:
            self._border_moved(time_ms)
            self.overdue = self.overdue or time_ms <= self._watermark_now()

    # -- time ---------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Fire what was set for a time that has passed already."""
        self.close(self._watermark_now(), None)
        self.overdue = False

    def next_border(self, watermark_ms: int) -> int:
        """The first time at which a key may want attention."""
        return max(min(self._run.agenda.first_ms, NEVER), watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire | None) -> None:
        """Fire the event-time timers that are due; forget what has expired."""
        last = watermark_ms >= END_OF_TIME
        if last and not self.node.fires_at_end:
            watermark_ms, last = self._data_end(), False
        with at(self.place):
            self._run.fire(watermark_ms, self._give, self._fail, last=last)

    def tick(self, now_ms: int, watermark_ms: int) -> bool:
        """Fire the clock timers that are due; whether there was one. watermark_ms: the task's, which this table may be
        behind."""
        with at(self.place):
            fired = self._run.fire_clock(now_ms, self._watermark_now(), self._give, self._fail)
        if self.overdue:
            self.settle()
        return fired

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """No row is late here."""
        return 0

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Rows leave when they are made."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """The row of every key that changed; none of a key without anything."""
        run = self._run
        if not run.changed:
            return None
        changes: list[Change] = []
        for key in run.changed:
            state = run.live[key]
            if state.is_empty:
                self._emptied.append(key)  # stays in memory until the store knows
                changes.append((checked_key_bytes(key), None))
            else:
                changes.append((checked_key_bytes(key), self._encode(state)))
        run.changed.clear()
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Keys without a change since the last checkpoint are left to the store, when memory is full."""
        run = self._run
        for key in self._emptied:
            if key not in run.changed:
                run.live.pop(key, None)
        self._emptied.clear()
        if len(run.live) > MAX_LIVE:
            run.live = {key: run.live[key] for key in run.changed}
            self._complete = False

    @property
    def live_count(self) -> int:
        """Keys in memory."""
        return len(self._run.live)
