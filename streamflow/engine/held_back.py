"""Tables that live behind the watermark of their task, because their rows come that late (plan/held_back.py).

    task's watermark W ──► W - lag ──► table          what it says of borders, and how far it is ──► + lag

Both ends of time stay where they are: "none yet", and "no more events", which closes everything.
"""

from collections.abc import Callable
from dataclasses import replace

from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME
from streamflow.engine.fold_table import Fire, FoldTable, Reached
from streamflow.engine.task_hooks import TaskHooks
from streamflow.state.store import TableChanges


def behind(watermark_ms: int, lag_ms: int) -> int:
    """A watermark, held back."""
    return watermark_ms - lag_ms if NO_TIME < watermark_ms < END_OF_TIME else watermark_ms


def ahead(watermark_ms: int, lag_ms: int) -> int:
    """The watermark of the task at which a table that is held back is there."""
    return watermark_ms + lag_ms if NO_TIME < watermark_ms < END_OF_TIME else watermark_ms


def reading(watermark: Callable[[], int], lag_ms: int) -> Callable[[], int]:
    """A function that gives a watermark, held back."""
    return (lambda: behind(watermark(), lag_ms)) if lag_ms else watermark


def hooks_behind(hooks: TaskHooks, lag_ms: int) -> TaskHooks:
    """What a table asks of its task and tells it, in the table's time."""
    if not lag_ms:
        return hooks
    return replace(
        hooks,
        border_moved=lambda watermark_ms: hooks.border_moved(ahead(watermark_ms, lag_ms)),
        closed_to=reading(hooks.closed_to, lag_ms),
        watermark_now=reading(hooks.watermark_now, lag_ms),
        settled_watermark=reading(hooks.settled_watermark, lag_ms),
        data_end=reading(hooks.data_end, lag_ms),
    )


class HeldBack:
    """A FoldTable over one that lives `lag_ms` behind; watermarks are the task's."""

    def __init__(self, table: FoldTable, lag_ms: int) -> None:
        self.name, self._table, self._lag = table.name, table, lag_ms
        self.evict = table.evict

    def open_at(self, watermark_ms: int) -> None:
        """As FoldTable."""
        self._table.open_at(behind(watermark_ms, self._lag))

    def next_border(self, watermark_ms: int) -> int:
        """As FoldTable."""
        return ahead(self._table.next_border(behind(watermark_ms, self._lag)), self._lag)

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """As FoldTable."""
        reached = self._table.close(behind(watermark_ms, self._lag), fire)
        return reached and reached._replace(watermark_ms=ahead(reached.watermark_ms, self._lag))

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """As FoldTable."""
        self._table.show(behind(watermark_ms, self._lag), fire)

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """As FoldTable."""
        return self._table.take_changes(behind(watermark_ms, self._lag))

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """As FoldTable."""
        return self._table.distance_ms(time_ms, behind(watermark_ms, self._lag))

    @property
    def live_count(self) -> int:
        """As FoldTable."""
        return self._table.live_count
