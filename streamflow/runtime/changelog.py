"""A table's changelog: the rows that its checkpoints changed, each checkpoint opened by a mark of the rows' layout.

The mark tells what the bytes mean when the disk, with its own note of it, is lost (decision 0010).
"""

from collections.abc import Iterable
from typing import NamedTuple

from streamflow.checkpoint.checkpoint import Output
from streamflow.errors import StateMismatch
from streamflow.state.store import Change

#: No row has it: keys of people are UTF-8, which has no 0xff; windows begin with a time, open sessions with one 0xff.
LAYOUT_KEY = b"\xff\xfflayout"
_REMEDY = "give the changed tables new names, or reset the topology"


class OtherLayout(StateMismatch):
    """A changelog has rows of another layout than the topology, or does not say of which."""


class Changelog(NamedTuple):
    """Where a task's rows of a table go, and the digest of their layout."""

    topic: str
    partition: int
    layout: str

    def records(self, changes: Iterable[Change]) -> list[Output]:
        """Records of a checkpoint: the mark and its rows. None when nothing changed."""
        rows: list[Output] = [(key, value, None) for key, value in changes]
        return [(LAYOUT_KEY, self.layout.encode(), None), *rows] if rows else []


class LayoutCheck:
    """Takes the marks out of a changelog that is read from the border of a checkpoint to the end."""

    def __init__(self, changelog: Changelog) -> None:
        self._changelog = changelog
        self._has_rows = self._has_mark = False

    def rows(self, pairs: list[Change], *, is_end: bool) -> list[Change]:
        """The rows of what was read. Raises OtherLayout when a mark says so, or at the end when there was none.

        After compaction the mark may lie behind rows that it covers, so nothing is sure before the end.
        """
        marks = [value for key, value in pairs if key == LAYOUT_KEY]
        for value in marks:
            found = (value or b"").decode(errors="replace")
            if found != self._changelog.layout:
                raise OtherLayout(f"{self._name} has rows of another layout than the topology ({found}): {_REMEDY}")
        self._has_mark |= bool(marks)
        self._has_rows |= len(pairs) > len(marks)
        if is_end and self._has_rows and not self._has_mark:
            raise OtherLayout(f"{self._name} does not say which layout its rows have: {_REMEDY}")
        return [pair for pair in pairs if pair[0] != LAYOUT_KEY] if marks else pairs

    @property
    def _name(self) -> str:
        return f"the changelog {self._changelog.topic}/{self._changelog.partition}"
