"""Overlapping windows without merging every pane again: two stacks per key.

    window   ┌───────────────────────────┐
    panes    p0   p1   p2   p3   p4   p5   p6
             └── suffixes ──┘ └ running ┘

    suffixes of a key, oldest on top     p0+p1+p2,  p1+p2,  p2
    running                              p3 + p4 + p5

The window slides: suffixes that begin before it are popped, the new panes are merged into `running`. The result is the
top suffix merged with `running`: two merges however many panes there are. When the suffixes run out, they are built
anew from the panes of `running` (each pane is merged once more): O(1) merges per key and slide on average, with no
inverse of the aggregate. The technique is the two-stacks queue (Tangwongsan, Hirzel and Schneider, "General incremental
sliding-window aggregation", VLDB 2015). A key whose row changes in a pane that was used already starts anew.

Memory: at most one accumulator per key and pane besides the pane's own.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from streamflow.windows.layout import AccumulatorLayout

if TYPE_CHECKING:
    from streamflow.engine.sliding_table import SharedPane


class _Stacks:
    """One key: suffixes as (pane start, merge of that pane and all behind it), oldest last; and the running part."""

    __slots__ = ("running", "running_panes", "suffixes")

    def __init__(self) -> None:
        self.suffixes: list[tuple[int, Any]] = []
        self.running: Any = None
        self.running_panes: list[SharedPane] = []


class SlidingMerge:
    """Merges of the panes of one table. `value_of(pane, key)` gives a key's accumulator in a pane, or None."""

    def __init__(self, layout: AccumulatorLayout, value_of: Callable[["SharedPane", Any], Any]) -> None:
        self._layout, self._copied, self._merge = layout, layout.copied, layout.merge
        self._value_of = value_of
        self._keys: dict[Any, _Stacks] = {}
        self._stale: set[Any] = set()
        #: Panes that start below this are in the stacks: `forget` has to know when one of their rows changes.
        self.taken_to = -(1 << 62)

    def forget(self, key: Any) -> None:
        """A key's row in a pane below `taken_to` is about to change."""
        self._keys.pop(key, None)
        self._stale.add(key)

    def rows(self, start: int, end: int, panes: list["SharedPane"]) -> list[tuple[Any, Any]]:
        """(key, merged accumulator) of the window [start, end). `panes`: the complete panes of it, ascending.

        Windows must be asked for in order. Rows may share accumulators with the stacks: read them at once.
        """
        for key in self._stale:
            stacks = self._keys[key] = _Stacks()
            stacks.running_panes = [
                pane for pane in panes if pane.start < self.taken_to and self._value_of(pane, key) is not None
            ]
            self._flip(key, stacks, start)
        self._stale.clear()
        for pane in panes:
            if pane.start >= self.taken_to:
                self._take(pane)
        self.taken_to = max(self.taken_to, end)
        rows, gone = [], []
        copied, merge = self._copied, self._merge
        for key, stacks in self._keys.items():
            suffixes = stacks.suffixes
            while suffixes and suffixes[-1][0] < start:
                suffixes.pop()
            if not suffixes and stacks.running_panes and stacks.running_panes[0].start < start:
                self._flip(key, stacks, start)
            row = stacks.running
            if suffixes:
                top = suffixes[-1][1]
                if row is None:
                    row = top
                else:
                    top = copied(top)
                    merge(top, row)
                    row = top
            if row is None:
                gone.append(key)
            else:
                rows.append((key, row))
        for key in gone:
            del self._keys[key]
        return rows

    def whole(self, panes: list["SharedPane"], key: Any) -> Any:
        """Merge of one key over panes, ascending, from scratch."""
        values = (self._value_of(pane, key) for pane in panes)
        return self._layout.merged(value for value in values if value is not None)

    def _take(self, pane: "SharedPane") -> None:
        """Merge a new pane into the running parts. Its rows settle, so that changing one calls `forget`."""
        for each in pane.all():
            each.settle()
        copied, merge, keys = self._copied, self._merge, self._keys
        for key, value in self._values_in(pane):
            stacks = keys.get(key)
            if stacks is None:
                stacks = keys[key] = _Stacks()
            if stacks.running is None:
                stacks.running = copied(value)
            else:
                merge(stacks.running, value)
            stacks.running_panes.append(pane)

    def _values_in(self, pane: "SharedPane") -> Iterable[tuple[Any, Any]]:
        """(key, accumulator) of all that a complete pane holds."""
        if not pane.late:
            return pane.live.items()
        return ((key, self._value_of(pane, key)) for key in pane.held_keys())

    def _flip(self, key: Any, stacks: _Stacks, start: int) -> None:
        """Make suffixes of the panes in the running part that the window still has."""
        before = None
        for pane in reversed(stacks.running_panes):
            if pane.start < start:
                break
            merged = self._copied(self._value_of(pane, key))
            if before is not None:
                self._merge(merged, before)
            stacks.suffixes.append((pane.start, merged))
            before = merged
        stacks.running, stacks.running_panes = None, []
