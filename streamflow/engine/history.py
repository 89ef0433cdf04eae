"""What a task remembers about time for whoever asks why: its last closings, and who came too late. Bounded, in memory.

closings    the last 1,000 times the watermark passed a border of a window
late        the last 64 event times of each of the last 1,000 keys whose rows were late, per window node
"""

from collections import OrderedDict, deque
from typing import Any

from streamflow.query.standing import Closing, LateRows

CLOSINGS_MAX = 1_000
LATE_KEYS_MAX = 1_000
LATE_TIMES_MAX = 64


class History:
    """Since the task opened, at `opened_at_ms` with the watermark `opened_ms`."""

    def __init__(self, opened_at_ms: int, opened_ms: int) -> None:
        self.opened_at_ms, self._opened_ms = opened_at_ms, opened_ms
        self._closings: deque[Closing] = deque(maxlen=CLOSINGS_MAX)
        self._late: OrderedDict[tuple[int, Any], deque[int]] = OrderedDict()
        self._forgot = False

    def closed(self, closing: Closing) -> None:
        """A border was passed."""
        self._closings.append(closing)

    def passed(self, watermark_ms: int) -> Closing | None:
        """The closing that carried the watermark over this one; None when it is not remembered."""
        if watermark_ms <= self._opened_ms:
            return None  # it was before the task opened here
        before = None
        for closing in reversed(self._closings):
            if closing.watermark_ms < watermark_ms:
                return before
            before = closing
        # Older ones may have been dropped, and one that was not is the first since the task opened.
        return before if len(self._closings) < CLOSINGS_MAX else None

    def was_late(self, node: int, key: Any, time_ms: int) -> None:
        """A row came too late."""
        times = self._late.get((node, key))
        if times is None:
            if len(self._late) >= LATE_KEYS_MAX:
                self._late.popitem(last=False)
                self._forgot = True
            times = self._late[node, key] = deque(maxlen=LATE_TIMES_MAX)
        else:
            self._late.move_to_end((node, key))
        times.append(time_ms)

    def late(self, node: int, key: Any, start_ms: int, end_ms: int) -> LateRows:
        """Late rows of a key with event times in [start, end)."""
        times = self._late.get((node, key), ())
        found = [time for time in times if start_ms <= time < end_ms]
        forgot = self._forgot or len(times) == LATE_TIMES_MAX
        return LateRows(len(found), found[-1] if found else None, forgot)
