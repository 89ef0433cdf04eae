"""States that a node keeps per key: a value, a list, a map. Declared as class attributes, typed and bounded.

    class Orders(Process):
        total = Value(float)
        last = List(str, max_entries=10, full="drop_oldest")
        seen = Map(str, int, max_entries=1_000, ttl="1d")

ttl: event time after the last write at which the whole state is gone (when the watermark passes it).
A type is anything that msgspec can encode and decode: scalars, structs, dataclasses, lists and dicts of such.
"""

import copy
from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar

import msgspec

from streamflow.errors import EventError
from streamflow.kit.keystate import Current, cell_size, stored_size
from streamflow.model.durations import parse_duration_ms

T = TypeVar("T")
K = TypeVar("K", str, int)
S = TypeVar("S", bound="State")

_SCALARS = (str, int, float, bool)
ENTRIES_MAX = 100_000
_64_BITS = 1 << 63


class Stored:
    """Checks values of a type, and turns those that are no scalars into bytes and back."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._scalar = kind in _SCALARS
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def pack(self, value: Any, name: str) -> Any:
        """What is kept of a value. Raises EventError(`process`) when it is not of the type."""
        kind = self.kind
        if self._scalar:
            if kind is float and value.__class__ is int:
                value = float(value)
            if value.__class__ is not kind or (kind is int and not -_64_BITS <= value < _64_BITS):
                raise EventError("process", f"state {name} keeps {kind.__name__}, not {value!r}")
            return value
        try:
            data = self._encode(value)
            self._decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise EventError("process", f"state {name} keeps {kind}, not {value!r}: {error}") from error
        return data

    def unpack(self, stored: Any) -> Any:
        """The value; of anything but scalars a new copy."""
        return stored if self._scalar else self._decode(stored)


class State:
    """Base of the three. On the class it declares; on a node it is the state of the key at hand."""

    def __init__(self, ttl: str | int | None) -> None:
        self.ttl_ms = None if ttl is None else parse_duration_ms(ttl)
        if self.ttl_ms is not None and self.ttl_ms < 1:
            raise ValueError("a ttl is at least 1ms")
        self.name = ""
        self.number = 0
        self._at = Current()

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def bound(self: S, number: int, current: Current) -> S:
        """The same state of one node."""
        mine = copy.copy(self)
        mine.number, mine._at = number, current
        return mine

    @property
    def layout(self) -> list[Any]:
        """What gives the bytes their meaning."""
        raise NotImplementedError

    def shown(self, cell: Any) -> Any:
        """A cell for a query."""
        raise NotImplementedError

    @property
    def _cell(self) -> Any:
        return self._at.entered().cells[self.number]

    def _replace(self, cell: Any) -> None:
        """Put another cell in the place of the present one."""
        current, number = self._at, self.number
        state = current.entered()
        before = state.cells[number]
        current.grow(cell_size(cell) - cell_size(before))
        current.undo.append((state.cells.__setitem__, number, before))
        state.cells[number] = cell
        self._written(None if cell is None else current.time_ms)

    def _written(self, time_ms: int | None) -> None:
        """Remember when it was written last; a late write does not shorten its life."""
        if self.ttl_ms is not None:
            written, number = self._at.entered().written, self.number
            before = written[number]
            if time_ms is None or before is None or time_ms > before:
                self._at.undo.append((written.__setitem__, number, before))
                written[number] = time_ms

    def clear(self) -> None:
        """Forget everything."""
        if self._cell is not None:
            self._replace(None)


class Value(State, Generic[T]):
    """One value per key."""

    def __init__(self, kind: type[T], *, ttl: str | int | None = None) -> None:
        super().__init__(ttl)
        self._kind = Stored(kind)

    @property
    def layout(self) -> list[Any]:
        return ["value", self.name, type_layout(self._kind.kind)]

    def shown(self, cell: Any) -> Any:
        return None if cell is None else msgspec.to_builtins(self._kind.unpack(cell))

    def get(self) -> T | None:
        """The value, None when there is none."""
        cell = self._cell
        return None if cell is None else self._kind.unpack(cell)

    def set(self, value: T) -> None:
        """Keep a value. Raises EventError when it is not of the type or the key has no room."""
        self._replace(self._kind.pack(value, self.name))


class List(State, Generic[T]):
    """A list per key, of at most `max_entries`; what a full one does is said by `full`."""

    def __init__(
        self,
        kind: type[T],
        *,
        max_entries: int,
        full: Literal["refuse", "drop_oldest"] = "refuse",
        ttl: str | int | None = None,
    ) -> None:
        super().__init__(ttl)
        _check_bound(max_entries)
        self._kind, self.max_entries, self._full = Stored(kind), max_entries, full

    @property
    def layout(self) -> list[Any]:
        return ["list", self.name, type_layout(self._kind.kind)]

    def shown(self, cell: Any) -> Any:
        return [msgspec.to_builtins(self._kind.unpack(each)) for each in cell or ()]

    def __iter__(self) -> Iterator[T]:
        return iter([self._kind.unpack(each) for each in self._cell or ()])

    def __len__(self) -> int:
        return len(self._cell or ())

    def append(self, value: T) -> None:
        """Add at the end. Raises EventError(`state_full`) when it is full and refuses."""
        stored, cell, current = self._kind.pack(value, self.name), self._cell, self._at
        if cell is None:
            self._replace([stored])
            return
        if len(cell) >= self.max_entries:
            if self._full == "refuse":
                raise _full(self.name, self.max_entries, current.key)
            current.undo.append((cell.insert, 0, cell[0]))
            current.grow(-stored_size(cell.pop(0)))
        current.grow(stored_size(stored))
        current.undo.append((cell.pop,))
        cell.append(stored)
        self._written(current.time_ms)

    def replace(self, values: list[T]) -> None:
        """Put other entries in the place of all."""
        if len(values) > self.max_entries:
            raise _full(self.name, self.max_entries, self._at.key)
        self._replace([self._kind.pack(each, self.name) for each in values] or None)


class Map(State, Generic[K, T]):
    """A map per key, of at most `max_entries`; its keys are str or int."""

    def __init__(self, keys: type[K], kind: type[T], *, max_entries: int, ttl: str | int | None = None) -> None:
        super().__init__(ttl)
        _check_bound(max_entries)
        if keys not in (str, int):
            raise ValueError("keys of a Map are str or int")
        self._keys, self._kind, self.max_entries = Stored(keys), Stored(kind), max_entries

    @property
    def layout(self) -> list[Any]:
        return ["map", self.name, self._keys.kind.__name__, type_layout(self._kind.kind)]

    def shown(self, cell: Any) -> Any:
        return {str(key): msgspec.to_builtins(self._kind.unpack(each)) for key, each in (cell or {}).items()}

    def __contains__(self, key: K) -> bool:
        return key in (self._cell or ())

    def __len__(self) -> int:
        return len(self._cell or ())

    def get(self, key: K) -> T | None:
        """Value of a key of the map, None when there is none."""
        cell = self._cell
        stored = None if cell is None else cell.get(key)
        return None if stored is None else self._kind.unpack(stored)

    def items(self) -> list[tuple[K, T]]:
        """Entries in the order of their keys."""
        return [(key, self._kind.unpack(stored)) for key, stored in sorted((self._cell or {}).items(), key=_first)]

    def set(self, key: K, value: T) -> None:
        """Set an entry. Raises EventError(`state_full`) when it is new and the map is full."""
        cell, current = self._cell, self._at
        key, stored = self._keys.pack(key, self.name), self._kind.pack(value, self.name)
        if cell is None:
            self._replace({key: stored})
            return
        before = cell.get(key)
        if before is not None:
            current.grow(stored_size(stored) - stored_size(before))
            current.undo.append((cell.__setitem__, key, before))
        else:
            if len(cell) >= self.max_entries:
                raise _full(self.name, self.max_entries, current.key)
            current.grow(stored_size(key) + stored_size(stored))
            current.undo.append((cell.__delitem__, key))
        cell[key] = stored
        self._written(current.time_ms)

    def delete(self, key: K) -> None:
        """Remove an entry if it is there."""
        cell, current = self._cell, self._at
        if not cell or key not in cell:
            return
        if len(cell) == 1:
            self._replace(None)
            return
        stored = cell.pop(key)
        current.undo.append((cell.__setitem__, key, stored))
        current.grow(-stored_size(key) - stored_size(stored))
        self._written(current.time_ms)


def _first(entry: tuple[Any, Any]) -> Any:
    return entry[0]


def type_layout(kind: Any) -> Any:
    """A type as data that changes when its encoding may."""
    return _without_texts(msgspec.json.schema(kind))


def _without_texts(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _without_texts(part) for name, part in schema.items() if name not in ("description", "title")}
    return [_without_texts(part) for part in schema] if isinstance(schema, list) else schema


def _check_bound(max_entries: int) -> None:
    if not 1 <= max_entries <= ENTRIES_MAX:
        raise ValueError(f"max_entries is 1 to {ENTRIES_MAX}, not {max_entries}")


def _full(name: str, bound: int, key: Any) -> EventError:
    return EventError("state_full", f"state {name} of key {key!r} has {bound} entries already, its max_entries")
