"""Calendar windows: days, weeks and months of a time zone, as long as the calendar says.

Europe/Berlin, the day the clocks go back:      [Sat 00:00 +02:00 … Sun 00:00 +02:00)        24 h
                                                [Sun 00:00 +02:00 … Mon 00:00 +01:00)        25 h

A border is a local midnight. Where a zone skips midnight (clocks go forward at 00:00), the day begins at the first
moment that exists: zoneinfo reads the skipped time with the offset from before (PEP 495, fold=0), which is that moment.
A midnight that happens twice is taken the first time.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

Unit = Literal["day", "week", "month"]

#: Dates that `datetime` can count: what lies outside is put into the first or last window.
_FIRST_MS = -62_135_596_800_000 + 60 * 86_400_000
_LAST_MS = 253_402_300_800_000 - 60 * 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_DAYS = {"day": 1, "week": 7, "month": 31}


@dataclass(frozen=True)
class Calendar:
    """Windows of one `unit` in `zone` (an IANA name). Weeks begin on Monday (ISO 8601)."""

    unit: Unit
    zone: str

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def pane_of(self, time_ms: int) -> tuple[int, int]:
        """(start, end) of the window that holds `time_ms`."""
        inside = min(max(time_ms, _FIRST_MS), _LAST_MS)
        first = self._first_day((_EPOCH + timedelta(milliseconds=inside)).astimezone(self._zone).date())
        start, end = self._midnight(first), self._midnight(self._first_day(first + self._step(first)))
        if time_ms < start:
            return time_ms, start
        return start, max(end, time_ms + 1)

    def next_end(self, time_ms: int) -> int:
        """Smallest end of a window that is greater than `time_ms`."""
        return self.pane_of(time_ms)[1]

    def start_of_end(self, end_ms: int) -> int:
        """Start of the window that ends at `end_ms`."""
        return self.pane_of(end_ms - 1)[0]

    def last_end(self, time_ms: int) -> int:
        """End of the window that holds `time_ms`."""
        return self.pane_of(time_ms)[1]

    @property
    def cell_ms(self) -> int:
        """Borders lie on multiples of it: offsets of time zones are whole seconds."""
        return 1_000

    @property
    def span_ms(self) -> int:
        """Length of the longest window: the longest unit and the hour that is put back in it."""
        return _LONGEST_DAYS[self.unit] * 86_400_000 + 3_600_000

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return f"calendar {self.unit} {self.zone}"

    def _first_day(self, day: date) -> date:
        if self.unit == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.unit == "month" else day

    def _step(self, _day: date) -> timedelta:
        """A step from the first day into the next window."""
        return timedelta(days={"day": 1, "week": 7, "month": 31}[self.unit])

    def _midnight(self, day: date) -> int:
        local = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return (local - _EPOCH) // timedelta(milliseconds=1)
