"""Keeps a version per key, and takes writes that fit: the node class of `accept`."""

from collections.abc import Callable
from typing import Any

from streamflow.kit import Process, Row, Value

#: Told of every write: whether it was taken, and the newest version of its key then.
TellWrite = Callable[[Any, bool, int], None]


class VersionedWrites(Process):
    """Gives each row with the newest version of its key, and whether it was taken.

    expected: field with the version that its writer saw. required: whether one that is null is refused. given: class of
    the rows that it gives. `tell` is set by the engine.
    """

    row_version = Value(int)
    row = Value(dict[str, Any])

    def __init__(self, expected: str, required: bool, given: type[Row]) -> None:
        self.expected, self._required, self._given = expected, required, given
        self._names = given.__struct_fields__[:-2]
        self._kept = [name for name in self._names if name != expected]
        self.tell: TellWrite | None = None

    def process(self, row: Any) -> Any:
        """Judge a write."""
        version, expected = self.row_version.get() or 0, getattr(row, self.expected)
        is_taken = not self._required if expected is None else expected == version
        if is_taken:
            version += 1
            self.row_version.set(version)
            self.row.set({name: getattr(row, name) for name in self._kept})
        if self.tell is not None:
            self.tell(self.key, is_taken, version)
        return self._given(*[getattr(row, name) for name in self._names], version, is_taken)
