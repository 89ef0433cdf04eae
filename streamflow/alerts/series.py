"""What is remembered of the metrics stream: points of series, as far back as the rules look.

A series is a metric with its labels. Points older than an hour are thinned to one a minute, which changes a rate over
hours by less than the minute's share of it.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

#: Series that are remembered; points of further ones are counted as `left_out`.
SERIES_MAX = 5_000
#: How long all points are kept, and how far apart older ones are.
FINE_MS, COARSE_MS = 3_600_000, 60_000
#: Points that may have grown old before they are looked at again.
_TRIM_EVERY = 64

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Series:
    """Points of one metric and labels: times (ms, ascending) and values."""

    labels: Labels
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, at_ms: int, value: float) -> bool:
        """Append a point; False for one that is not behind the last: samples may come twice."""
        if self.times and at_ms <= self.times[-1]:
            return False
        self.times.append(at_ms)
        self.values.append(value)
        return True

    def since(self, begin_ms: int, end_ms: int) -> list[float]:
        """Values of a time, begin and end included."""
        return self.values[bisect_left(self.times, begin_ms) : bisect_left(self.times, end_ms + 1)]

    def at(self, now_ms: int, stale_ms: int) -> float | None:
        """The value that holds at a time; None when the last is too old."""
        place = bisect_left(self.times, now_ms + 1) - 1
        return self.values[place] if place >= 0 and self.times[place] > now_ms - stale_ms else None

    def span_ms(self, begin_ms: int, end_ms: int) -> int:
        """Time between the first and the last point of a time."""
        first, last = bisect_left(self.times, begin_ms), bisect_left(self.times, end_ms + 1) - 1
        return self.times[last] - self.times[first] if last > first else 0

    def trim(self, keep_ms: int) -> None:
        """Forget what is too old, and thin what is old."""
        newest = self.times[-1]
        if self.times[0] >= newest - min(keep_ms, FINE_MS):
            return
        times: list[int] = []
        values: list[float] = []
        for at_ms, value in zip(self.times, self.values, strict=True):
            is_old = at_ms < newest - keep_ms
            is_close = at_ms < newest - FINE_MS and times and at_ms - times[-1] < COARSE_MS
            if not is_old and not is_close:
                times.append(at_ms)
                values.append(value)
        self.times, self.values = times, values


class History:
    """Series of the metrics that are asked for. keep_ms: how far back."""

    def __init__(self, metrics: Collection[str], keep_ms: int) -> None:
        self.metrics, self.keep_ms = frozenset(metrics), keep_ms
        self._series: dict[str, dict[Labels, Series]] = {}
        self._selected: dict[tuple[str, Labels], list[Series]] = {}
        self._count = 0
        self.left_out = 0
        self.last_ms = 0

    def add(self, at_ms: int, metric: str, labels: Mapping[str, str], value: float) -> None:
        """A point of a sample."""
        self.last_ms = max(self.last_ms, at_ms)
        if metric not in self.metrics or value != value:
            return
        found, key = self._series.setdefault(metric, {}), tuple(sorted(labels.items()))
        series = found.get(key)
        if series is None:
            if self._count >= SERIES_MAX:
                self.left_out += 1
                return
            self._count += 1
            self._selected.clear()
            series = found[key] = Series(key)
        if series.add(at_ms, value) and len(series.times) % _TRIM_EVERY == 0:
            series.trim(self.keep_ms)

    def forget(self, now_ms: int) -> None:
        """Drop series that have said nothing for as long as anything is remembered."""
        for found in self._series.values():
            for key in [key for key, series in found.items() if series.times[-1] < now_ms - self.keep_ms]:
                del found[key]
                self._count -= 1
                self._selected.clear()

    def select(self, metric: str, labels: Mapping[str, str]) -> list[Series]:
        """Series of a metric whose labels fit patterns; remembered until there are others."""
        wanted = metric, tuple(sorted(labels.items()))
        found = self._selected.get(wanted)
        if found is None:
            series = self._series.get(metric, {}).values()
            found = self._selected[wanted] = [each for each in series if _fits(dict(each.labels), labels)]
        return found


def _fits(given: Mapping[str, str], patterns: Mapping[str, str]) -> bool:
    return all(fnmatchcase(given.get(name, ""), pattern) for name, pattern in patterns.items())
