"""Layout of a windowed table's rows: the accumulator struct, its bytes, and the results computed from it.

A row in the store is the msgpack array of the accumulator's *extras* (what the window itself has to remember, such as
the borders of a session), then its cells, in the order of the aggregates. The table's layout digest (in the plan)
covers window, names, states and order of the aggregates: bytes of another layout are refused before they get here.

Aggregates of one state over one argument share their cells: percentile(x, 50) and percentile(x, 99) keep x once.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from streamflow.errors import UserError
from streamflow.windows.aggregates import Aggregate

#: A row beyond this would not fit into a record of the changelog (4 MiB with key and framing): its state would be lost.
ROW_MAX_BYTES = (4 << 20) - (64 << 10)
#: An accumulator without its objects, with its key and place in a dictionary.
_ACCUMULATOR_BYTES = 250


class Slot(NamedTuple):
    """A result of a window: its name, the aggregate, and the source of its argument ("" without)."""

    name: str
    aggregate: Aggregate
    argument: str


class AccumulatorLayout:
    """Accumulator of a list of slots; `extras` are (attribute, initial value), integers.

    The encoders raise UserError for a row of objects beyond ROW_MAX_BYTES, before the changelog has to refuse it.

    new: makes an accumulator in its initial state.
    encode, decode: accumulator to and from bytes; decode_all: several at once.
    merge: merges the second accumulator into the first.
    results: values of all results, in order; `as_dict` the same by name.
    names: what the sources of adds, lifts and results use besides the accumulator.
    """

    def __init__(self, slots: Sequence[Slot], extras: Sequence[tuple[str, int]] = ()) -> None:
        self.slots = tuple(slots)
        self.names: dict[str, Any] = {}
        self._cells: list[list[str]] = []
        self._firsts: set[int] = set()
        self._objects: list[str] = []
        cells = self._assign_cells()
        fields: list[tuple[str, Any, Any]] = [(name, int, value) for name, value in extras]
        self.type: type[Any] = msgspec.defstruct("Accumulator", fields + cells, array_like=True, gc=False)
        self.new: Callable[[], Any] = self.type
        self._encode_any = msgspec.msgpack.Encoder(enc_hook=_state).encode
        self.encode: Callable[[Any], bytes] = self._encode_weighed if self._objects else self._encode_any
        self.decode: Callable[[bytes], Any] = self.decoder(self.type)
        rows: Any = list[self.type]  # type: ignore[name-defined]
        self.decode_all: Callable[[bytes], list[Any]] = self.decoder(rows)
        text = "lambda a: (" + "".join(f"{self.value_source(i, 'a')}, " for i in range(len(self.slots))) + ")"
        self.extras = tuple(name for name, _ in extras)
        self.results: Callable[[Any], tuple[Any, ...]] = eval(text, dict(self.names))  # noqa: S307 - text is made of our own templates
        self.merge: Callable[[Any, Any], None] = self._merger()
        #: An accumulator that is equal and shares nothing that a merge changes.
        self.copied: Callable[[Any], Any] = self._copied_by_merge
        if not self._objects:
            self.copied = self.type.__copy__  # type: ignore[attr-defined]
        #: Mean memory of an accumulator's objects, in which those written last count most.
        self._objects_bytes = 0.0

    def _assign_cells(self) -> list[tuple[str, Any, Any]]:
        """Fields of the cells; every slot gets the names of its own, or of the slot that has them already."""
        fields: list[tuple[str, Any, Any]] = []
        known: dict[tuple[str, str], list[str]] = {}
        for index, (_, aggregate, argument) in enumerate(self.slots):
            self.names |= aggregate.names
            place = (aggregate.state, argument)
            if place not in known:
                self._firsts.add(index)
                known[place] = [f"c{len(fields) + i}" for i in range(len(aggregate.cells))]
                for name, cell in zip(known[place], aggregate.cells, strict=True):
                    if cell.make is not None or cell.type is object:
                        self._objects.append(name)
                    default = cell.initial if cell.make is None else msgspec.field(default_factory=cell.make)
                    fields.append((name, Any if cell.type is object else cell.type, default))
            self._cells.append(known[place])
        return fields

    def decoder(self, kind: Any) -> Callable[[bytes], Any]:
        """Function from bytes to something that is made of accumulators."""
        return msgspec.msgpack.Decoder(kind, dec_hook=_object).decode

    def _merger(self) -> Callable[[Any, Any], None]:
        """Function (into, other) that merges `other` into `into`; `other` stays as it is, nothing of it is shared."""
        lines = ["def merge(a, b):", "    pass"]
        if "revision" in self.extras:
            lines.append("    a.revision += b.revision")
        if "rows" in self.extras:
            lines.append("    a.rows += b.rows")
        for index in sorted(self._firsts):
            merge = self.slots[index].aggregate.merge
            lines += ["    " + line.format(*self._cells[index], a="a", b="b") for line in merge]
        namespace = dict(self.names)
        exec("\n".join(lines), namespace)  # noqa: S102 - text is made of our own templates
        made: Callable[[Any, Any], None] = namespace["merge"]
        return made

    @property
    def live_bytes(self) -> int:
        """What an accumulator takes in memory, roughly; of objects by those written lately."""
        return _ACCUMULATOR_BYTES + int(self._objects_bytes)

    def _weigh(self, accumulator: Any) -> None:
        weight = sum(_weight_bytes(getattr(accumulator, name)) for name in self._objects)
        self._objects_bytes += (weight - self._objects_bytes) / 256

    def _encode_weighed(self, accumulator: Any) -> bytes:
        self._weigh(accumulator)
        return self.checked(self._encode_any(accumulator), 1)

    def checked(self, row: bytes, count: int) -> bytes:
        """A row of so many accumulators. Raises UserError when it is too large."""
        if len(row) > ROW_MAX_BYTES:
            names = ", ".join(slot.name for slot in self.slots)
            raise UserError(
                f"a row of {names} takes {len(row)} bytes ({count} accumulators), "
                f"{ROW_MAX_BYTES} are possible: keep less in a result, or fewer panes in a window"
            )
        return row

    def bytes_of(self, accumulator: Any) -> bytes:
        """Bytes of an accumulator, also of one with integers beyond 64 bits (`encode` raises OverflowError there)."""
        try:
            return self.encode(accumulator)
        except OverflowError:
            return self.encode_large(accumulator)

    def bytes_of_all(self, accumulators: list[Any]) -> bytes:
        """Bytes of several."""
        try:
            if self._objects:
                self._weigh(accumulators[-1])
            return self.checked(self._encode_any(accumulators), len(accumulators))
        except OverflowError:
            return self.checked(self._encode_any([self._in_64_bits(e) for e in accumulators]), len(accumulators))

    def encode_large(self, accumulator: Any) -> bytes:
        """Bytes of an accumulator with integers beyond 64 bits, which msgpack cannot hold: they become floats."""
        return self.encode(self._in_64_bits(accumulator))

    def _in_64_bits(self, accumulator: Any) -> Any:
        cells = (getattr(accumulator, name) for name in accumulator.__struct_fields__)
        return self.type(*(float(cell) if cell.__class__ is int and abs(cell) >= 2**63 else cell for cell in cells))

    def add_source(self, index: int, accumulator: str, value: str, time: str) -> list[str]:
        """Statements that add `value` at event time `time` to slot `index`; none when its cells are another's."""
        if index not in self._firsts:
            return []
        add = self.slots[index].aggregate.add
        return [line.format(*self._cells[index], a=accumulator, v=value, t=time) for line in add]

    def value_source(self, index: int, accumulator: str) -> str:
        """Expression of the result of slot `index`."""
        return self.slots[index].aggregate.value.format(*self._cells[index], a=accumulator)

    def as_dict(self, row: bytes) -> dict[str, Any]:
        """Results by name of a row of the store, as a query shows them."""
        return self.named(self.decode(row))

    def named(self, accumulator: Any) -> dict[str, Any]:
        """Results by name."""
        return dict(zip((slot.name for slot in self.slots), self.results(accumulator), strict=True))

    def _copied_by_merge(self, accumulator: Any) -> Any:
        copy = self.new()
        self.merge(copy, accumulator)
        return copy

    def merged(self, accumulators: Iterable[Any]) -> Any:
        """A new accumulator: the merge of all, in order."""
        whole = self.new()
        for accumulator in accumulators:
            self.merge(whole, accumulator)
        return whole


def _weight_bytes(cell: Any) -> int:
    """Of an object or a plain value."""
    weight = getattr(cell, "weight_bytes", None)
    return sys.getsizeof(cell) if weight is None else weight()


def _state(cell: Any) -> Any:
    return cell.state()


def _object(kind: Any, data: Any) -> Any:
    return kind.of(data)
