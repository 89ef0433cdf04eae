"""How many windows, or keys, of a table are open in one task, for the bound of them: those before a restart count too.

    opened ──► at most so many (rows of the store)  ──► the bound is near ──► counted once ──► exact from then on

Counting reads all open rows of the store, so it waits until it matters.
"""

from collections.abc import Callable

from streamflow.engine.fold_table import refuse_window
from streamflow.nodes.operators import Fold


class OpenCount:
    """Of one table. what: counted, as a refusal says it; recount: counts all that are open."""

    def __init__(self, fold: Fold, what: str, recount: Callable[[], int]) -> None:
        self._fold, self._what, self._recount = fold, what, recount
        self._count, self._is_exact = 0, True

    def restore(self, rows_max: int) -> None:
        """The table has rows in the store, at most so many."""
        self._count, self._is_exact = rows_max, False

    def add(self) -> None:
        """One more opens. Raises EventError(`too_many_windows`), or TableTooLarge, when it must not."""
        if self._count >= self._fold.max_open:
            if not self._is_exact:
                self._count, self._is_exact = self._recount(), True
            if self._count >= self._fold.max_open:
                refuse_window(self._fold, f"{self._count} {self._what}, max_open allows no more")
        self._count += 1

    def close(self, count: int) -> None:
        """So many have closed."""
        self._count -= count
