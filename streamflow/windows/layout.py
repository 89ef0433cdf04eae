"""Layout of a windowed table's rows: the accumulator struct, its bytes, and the results computed from it.

A row in the store is the msgpack array of the accumulator's *extras* (what the window itself has to remember, such as
the borders of a session), then its cells, in the order of the aggregates. The table's layout digest (in the plan)
covers window, names, versions and order of the aggregates: bytes of another layout are refused before they get here.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

import msgspec

from streamflow.windows.aggregates import Aggregate

#: What a cell may hold: msgpack keeps integers and floats apart, and infinity is a float.
_CELL = int | float


class AccumulatorLayout:
    """Accumulator of a list of (result name, aggregate); `extras` are (attribute, initial value), integers.

    new: makes an accumulator in its initial state.
    encode, decode: accumulator to and from bytes; decode_all: several at once.
    merge: merges the second accumulator into the first.
    results: values of all results, in order; `as_dict` the same by name.
    """

    def __init__(self, aggregates: Sequence[tuple[str, Aggregate]], extras: Sequence[tuple[str, int]] = ()) -> None:
        self.aggregates = tuple(aggregates)
        names: list[list[str]] = []
        initial: list[float] = []
        for _, aggregate in self.aggregates:
            names.append([f"c{len(initial) + i}" for i in range(len(aggregate.cells))])
            initial += aggregate.cells
        self.cells = names
        fields: list[tuple[str, Any, float]] = [(name, int, value) for name, value in extras]
        fields += [(f"c{i}", _CELL, value) for i, value in enumerate(initial)]
        self.type: type[Any] = msgspec.defstruct("Accumulator", fields, array_like=True, gc=False)
        self.new: Callable[[], Any] = self.type
        self.encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        self._encode_any = self.encode
        self.decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(self.type).decode
        rows: Any = list[self.type]  # type: ignore[name-defined]
        self.decode_all: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(rows).decode
        text = "lambda a: (" + "".join(f"{self.value_source(i, 'a')}, " for i in range(len(self.aggregates))) + ")"
        self.extras = tuple(name for name, _ in extras)
        self.results: Callable[[Any], tuple[Any, ...]] = eval(text, {"inf": inf})  # noqa: S307 - text is made of our own templates
        self.merge: Callable[[Any, Any], None] = self._merger()

    def _merger(self) -> Callable[[Any, Any], None]:
        """Function (into, other) that merges `other` into `into`; `other` stays as it is, nothing of it is shared."""
        lines = ["def merge(a, b):"]
        if "revision" in self.extras:
            lines.append("    a.revision += b.revision")
        for cells, (_, aggregate) in zip(self.cells, self.aggregates, strict=True):
            lines += ["    " + line.format(*cells, a="a", v="", b="b") for line in aggregate.merge]
        namespace: dict[str, Any] = {"inf": inf}
        exec("\n".join(lines), namespace)  # noqa: S102 - text is made of our own templates
        merge: Callable[[Any, Any], None] = namespace["merge"]
        return merge

    def bytes_of(self, accumulator: Any) -> bytes:
        """Bytes of an accumulator, also of one with integers beyond 64 bits (`encode` raises OverflowError there)."""
        try:
            return self.encode(accumulator)
        except OverflowError:
            return self.encode_large(accumulator)

    def bytes_of_all(self, accumulators: list[Any]) -> bytes:
        """Bytes of several."""
        try:
            return self._encode_any(accumulators)
        except OverflowError:
            return self._encode_any([self._in_64_bits(each) for each in accumulators])

    def encode_large(self, accumulator: Any) -> bytes:
        """Bytes of an accumulator with integers beyond 64 bits, which msgpack cannot hold: they become floats."""
        return self.encode(self._in_64_bits(accumulator))

    def _in_64_bits(self, accumulator: Any) -> Any:
        cells = (getattr(accumulator, name) for name in accumulator.__struct_fields__)
        return self.type(*(cell if abs(cell) < 2**63 else float(cell) for cell in cells))

    def add_source(self, index: int, accumulator: str, value: str) -> list[str]:
        """Statements that add the value named `value` to aggregate `index` of the accumulator named `accumulator`."""
        aggregate = self.aggregates[index][1]
        return [line.format(*self.cells[index], a=accumulator, v=value, b="") for line in aggregate.add]

    def value_source(self, index: int, accumulator: str) -> str:
        """Expression of the result of aggregate `index`."""
        aggregate = self.aggregates[index][1]
        return aggregate.value.format(*self.cells[index], a=accumulator, v="", b="")

    def as_dict(self, row: bytes) -> dict[str, Any]:
        """Results by name of a row of the store, as a query shows them."""
        return self.named(self.decode(row))

    def named(self, accumulator: Any) -> dict[str, Any]:
        """Results by name."""
        return dict(zip((name for name, _ in self.aggregates), self.results(accumulator), strict=True))

    def merged(self, accumulators: Iterable[Any]) -> Any:
        """A new accumulator: the merge of all, in order."""
        whole = self.new()
        for accumulator in accumulators:
            self.merge(whole, accumulator)
        return whole
