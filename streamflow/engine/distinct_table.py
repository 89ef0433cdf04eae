"""Ids that a deduplicate has let through in one task.

    id ──► seen[id]     event time of the row that passed: one look-up
             │ miss, and slots were left to the store
           store        slot by slot, the newest first

Ids lie in slots of event time, in memory as in the store: a slot that no row may ask for any more leaves as a whole, by
one range deletion, without tombstones. A row is late when its time + lateness is at or behind the watermark; an id of
time f is asked for only by rows before f + within; so after f + within + lateness nobody asks.

Memory: 140 bytes per id with keys of 19 characters, 230 with a number beside the key (measured with 500,000 ids).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.engine.fold_table import NEVER, Fire
from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Distinct
from streamflow.state.keys import KEY_MAX_BYTES, checked_key_bytes, key_from_bytes, pane_prefix, split_window_key
from streamflow.state.store import Change, Store, TableChanges

#: Ids of one task and table kept in memory.
MAX_LIVE = 1_000_000


class DistinctTable:
    """A FoldTable of ids.

    border_moved: told an event time at which a slot goes. watermark_now: the task's up to this event, below every time
    while tables are being closed.
    """

    def __init__(
        self,
        operator: Distinct,
        store: Store,
        key_type: FieldType,
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
    ) -> None:
        self.name = operator.table
        self._within, self._lateness, self._slot = operator.within_ms, operator.lateness_ms, operator.slot_ms
        self._keep = operator.within_ms + operator.lateness_ms
        self._store, self._border_moved, self._watermark_now = store, border_moved, watermark_now
        self._integer_keys, self._has_parts = key_type is FieldType.INT, bool(operator.parts)
        self._seen: dict[Any, int] = {}
        self._slots: dict[int, list[Any]] = {}
        #: Slots of which the store has ids that memory has not, newest first.
        self._stored: list[int] = []
        self._fresh: list[tuple[int, bytes]] = []
        self._expired_below: int | None = None

    def open_at(self, watermark_ms: int) -> None:
        """Load what may be asked for, as far as there is room."""
        limit = self._limit(watermark_ms)
        for stored, raw in self._store.scan(self.name, pane_prefix(max(limit, -(1 << 62)))):
            slot, data = split_window_key(stored)
            self._enter(self._id(data), int(raw), slot)
            if len(self._seen) > MAX_LIVE:
                self._leave_to_store(MAX_LIVE // 2)

    def _limit(self, watermark_ms: int) -> int:
        """Start of the first slot that has an id somebody may ask for."""
        return (watermark_ms - self._keep) // self._slot * self._slot

    def _id(self, data: bytes) -> Any:
        return tuple(msgspec.json.decode(data)) if self._has_parts else key_from_bytes(data, self._integer_keys)

    def _bytes(self, identity: Any) -> bytes:
        """Bytes of an id. Raises EventError(`too_large`) beyond 16 KiB."""
        if not self._has_parts:
            return checked_key_bytes(identity)
        data = msgspec.json.encode(identity)
        if len(data) > KEY_MAX_BYTES:
            raise EventError("too_large", f"the id has {len(data)} bytes, at most {KEY_MAX_BYTES} are possible")
        return data

    # -- rows ---------------------------------------------------------------------------------------------------------

    def judge(self, identity: Any, time_ms: int) -> bool | None:
        """Whether a row is the first of its id; None when it is late."""
        if time_ms + self._lateness <= self._watermark_now():
            return None
        first = self._seen.get(identity)
        if first is None and self._stored:
            first = self._find(identity)
        if first is not None and time_ms < first + self._within:
            return False
        slot = time_ms // self._slot * self._slot
        self._fresh.append((time_ms, pane_prefix(slot) + self._bytes(identity)))
        self._enter(identity, time_ms, slot)
        return True

    def _enter(self, identity: Any, time_ms: int, slot: int) -> None:
        self._seen[identity] = time_ms
        ids = self._slots.get(slot)
        if ids is None:
            ids = self._slots[slot] = []
            self._border_moved(slot + self._slot + self._keep)
        ids.append(identity)

    def _find(self, identity: Any) -> int | None:
        """Time of an id that was left to the store."""
        data = self._bytes(identity)
        for slot in self._stored:
            raw = self._store.get(self.name, pane_prefix(slot) + data)
            if raw is not None:
                return int(raw)
        return None

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_border(self, watermark_ms: int) -> int:
        """The moment at which the oldest slot goes."""
        oldest = min(self._slots, default=NEVER)
        return max(oldest + self._slot + self._keep, watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Forget slots that nobody may ask for."""
        limit = self._limit(watermark_ms)
        for slot in [slot for slot in self._slots if slot < limit]:
            self._forget(slot)
        self._stored = [slot for slot in self._stored if slot >= limit]

    def _forget(self, slot: int) -> None:
        seen, end = self._seen, slot + self._slot
        for identity in self._slots.pop(slot):
            first = seen.get(identity)
            if first is not None and slot <= first < end:
                del seen[identity]

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """How far behind the last moment at which it would have been judged."""
        return watermark_ms - time_ms - self._lateness

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Rows leave when they come."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """New ids, and the slots that leave the store."""
        limit = self._limit(watermark_ms)
        lowest = pane_prefix(max(limit, -(1 << 62)))
        changes: list[Change] = [(stored, b"%d" % time) for time, stored in self._fresh if stored >= lowest]
        self._fresh.clear()
        news = self._expired_below is None or limit > self._expired_below
        if watermark_ms <= -(1 << 61) or not (changes or news):
            return TableChanges(self.name, changes) if changes else None
        self._expired_below = limit
        return TableChanges(self.name, changes, lowest)

    def evict(self) -> None:
        """The oldest slots are left to the store, when memory is full."""
        if len(self._seen) > MAX_LIVE:
            self._leave_to_store(MAX_LIVE // 2)
            for time_ms, stored in self._fresh:
                slot, data = split_window_key(stored)
                self._enter(self._id(data), time_ms, slot)

    def _leave_to_store(self, room: int) -> None:
        """Let go the oldest slots until memory has no more ids than `room`: what it has is the newest."""
        for slot in sorted(self._slots):
            if len(self._seen) <= room:
                break
            self._forget(slot)
            self._stored = sorted({*self._stored, slot}, reverse=True)

    @property
    def live_count(self) -> int:
        """Ids in memory."""
        return len(self._seen)
