"""What tables ask of their task, and tell it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamflow.bus.cancellations import Cancellations
from streamflow.engine.fold_table import Opened
from streamflow.errors import EventError
from streamflow.kit.timers import Timer
from streamflow.model.approval import Parked


@dataclass(frozen=True, slots=True)
class TaskHooks:
    """Times in ms.

    emit: (node number, node, start, end, rows, final), results of a window; give: (node number, node, key, time, rows),
    rows of a timer, or of an approval that they have left; parks: (node, approval, what waits there); judged: (node,
    key, whether it was taken, version), a write; timer_failed: (node, key, timer, error).
    border_moved: something is due at this watermark that was not known. closed_to: the watermark at which the task
    closed last; opened_at: how far the n-th table was closed when the task opened;
    watermark_now: the one up to this event; settled_watermark: the same, but below every time while tables are being
    closed, as each will be told; data_end: the greatest of its inputs before they ended.
    now: the wall clock. cancelled: executions that were.
    """

    emit: Callable[[int, str, int, int, Any, bool], None]
    give: Callable[..., None]
    parks: Callable[[str, str, Parked], None]
    judged: Callable[[str, Any, bool, int], None]
    cancelled: Cancellations
    timer_failed: Callable[[str, Any, Timer, EventError], None]
    border_moved: Callable[[int], None]
    closed_to: Callable[[], int]
    opened_at: Callable[[int], Opened]
    watermark_now: Callable[[], int]
    settled_watermark: Callable[[], int]
    data_end: Callable[[], int]
    now: Callable[[], int]
