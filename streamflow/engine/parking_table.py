"""Keys that are parked at an entry of one task, and events that wait behind them: a write-back cache over the store.

    open ──► parked behind a record ──► released ──► (what waited goes on, until one fails) ──► open
                   ▲     failed again       │
                   └────────────────────────┘

All of it is in memory too, within bounds of keys, events and bytes. Events leave in the order in which they came.

Store: | key bytes | -> Head;   | 0xff | number, 8 bytes big-endian | -> Waiting. No text begins with 0xff, so the keys
stand together.
"""

from collections import deque
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import msgspec

from streamflow.engine.row_size import refuse_row
from streamflow.errors import EventError
from streamflow.model.parking import Head, Waiting
from streamflow.model.schema import FieldType
from streamflow.plan.plan import Entry, ParkedKeys
from streamflow.state.keys import AFTER_TEXT, KEY_MAX_BYTES, key_bytes, key_from_bytes
from streamflow.state.store import Store, TableChanges
from streamflow.windows.layout import ROW_MAX_BYTES

#: Events of one task that wait, in bytes.
WAITING_MAX_BYTES = 64 << 20
_NUMBER = Struct(">Q")


@dataclass(slots=True)
class Held:
    """A parked key, and the numbers of what waits behind it."""

    head: Head
    waiting: deque[int] = field(default_factory=deque)


class ParkingTable:
    """State of one entry that parks. `held`: by key, read by the fused code."""

    def __init__(self, parks: ParkedKeys, store: Store, *, integer_keys: bool) -> None:
        self.name = parks.table
        self._parks, self._store, self._integer_keys = parks, store, integer_keys
        self.held: dict[Any, Held] = {}
        self._waiting: dict[int, tuple[Waiting, int]] = {}
        self._released: dict[Any, None] = {}
        self._by_offset: dict[int, Any] = {}
        self._next = self._bytes = 0
        self._changed_keys: dict[Any, None] = {}
        self._changed: dict[int, None] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._load()

    def _load(self) -> None:
        decode, decode_head = msgspec.msgpack.Decoder(Waiting).decode, msgspec.msgpack.Decoder(Head).decode
        for stored, raw in self._store.scan(self.name, b"", AFTER_TEXT):
            key = key_from_bytes(stored, self._integer_keys)
            self.held[key] = Held(decode_head(raw))
            self._index(key)
        for stored, raw in self._store.scan(self.name, AFTER_TEXT):
            number, waiting = _NUMBER.unpack(stored[len(AFTER_TEXT) :])[0], decode(raw)
            self.held[key_from_bytes(waiting.of, self._integer_keys)].waiting.append(number)
            self._waiting[number] = waiting, len(raw)
            self._bytes += len(raw)
            self._next = number + 1

    def _index(self, key: Any) -> None:
        offset = self.held[key].head.offset
        if offset is None:
            self._released[key] = None
        else:
            self._by_offset[offset] = key

    @property
    def waiting_count(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    @property
    def is_releasing(self) -> bool:
        """Whether something that waited may go on."""
        return bool(self._released)

    def key_of(self, data: bytes | None) -> Any:
        """Key whose text a record's key is; None when it is none."""
        try:
            return None if data is None else key_from_bytes(data, self._integer_keys)
        except ValueError:
            return None

    def behind(self, offset: int) -> Any:
        """Key that waits behind the record at an offset, None when none does."""
        return self._by_offset.get(offset)

    # -- what happens to a key ----------------------------------------------------------------------------------------

    def park(self, key: Any, offset: int, now_ms: int) -> bool:
        """A record of the key has failed; whether the key waits behind it now, also when it did before."""
        held = self.held.get(key)
        if held is None:
            if len(self.held) >= self._parks.max_keys or len(key_bytes(key)) > KEY_MAX_BYTES:
                return False
            held = self.held[key] = Held(Head(offset, now_ms, 0, 0))
        elif held.head.offset == offset:
            return True
        elif held.head.offset is not None:
            del self._by_offset[held.head.offset]
        self._released.pop(key, None)
        held.head.offset = offset
        held.head.failures += 1
        self._by_offset[offset] = key
        self._changed_keys[key] = None
        return True

    def wait(self, key: Any, event: Waiting) -> None:
        """An event waits behind its key, which is parked. Raises EventError(`parked_full`, `too_large`)."""
        size = len(self._encode(event))
        if size > ROW_MAX_BYTES:
            refuse_row(size)
        if len(self._waiting) >= self._parks.max_waiting or self._bytes + size > WAITING_MAX_BYTES:
            message = f"{len(self._waiting)} events, {self._bytes} bytes, wait in this task: no more may"
            raise EventError("parked_full", message)
        number, self._next = self._next, self._next + 1
        self._waiting[number] = event, size
        self._bytes += size
        held = self.held[key]
        held.waiting.append(number)
        held.head.waiting += 1
        self._changed[number] = self._changed_keys[key] = None

    def release(self, key: Any) -> int:
        """What waits behind the key may go on; gives how many do."""
        held = self.held[key]
        if held.head.offset is not None:
            del self._by_offset[held.head.offset]
            held.head.offset = None
        self._changed_keys[key] = None
        if held.waiting:
            self._released[key] = None
        else:
            self._open(key)
        return len(held.waiting)

    def take(self) -> tuple[Any, Waiting] | None:
        """The next event that goes on, which waits no more; None when there is none."""
        key = next(iter(self._released), None)
        if key is None:
            return None
        held = self.held[key]
        number = held.waiting.popleft()
        held.head.waiting -= 1
        event, size = self._waiting.pop(number)
        self._bytes -= size
        self._changed[number] = self._changed_keys[key] = None
        return key, event

    def settle(self, key: Any) -> None:
        """An event that has waited is done: the key is open when it was the last one and did not fail."""
        if key in self._released and not self.held[key].waiting:
            self._open(key)

    def _open(self, key: Any) -> None:
        self._released.pop(key, None)
        del self.held[key]

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def take_changes(self) -> TableChanges | None:
        """Keys and events that came, changed or went."""
        if not self._changed_keys:
            return None
        held, encode = self.held, self._encode
        changes: list[tuple[bytes, bytes | None]] = [
            (key_bytes(key), encode(held[key].head) if key in held else None) for key in self._changed_keys
        ]
        for number in self._changed:
            event = self._waiting.get(number)
            changes.append((AFTER_TEXT + _NUMBER.pack(number), None if event is None else encode(event[0])))
        self._changed_keys, self._changed = {}, {}
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Everything stays in memory."""


def parking_table(entry: Entry, store: Store) -> ParkingTable:
    """The table of an entry that parks."""
    assert entry.parks is not None
    assert entry.key is not None
    return ParkingTable(entry.parks, store, integer_keys=entry.key.type is FieldType.INT)
