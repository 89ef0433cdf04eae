"""What aggregates must give: plain Python over the events of a window in order of arrival. Shares no code with them."""

import json
import statistics
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Event = dict[str, Any]


def spread_of(values: list[Any], ddof: int) -> float | None:
    """Variance by exact fractions, divided by n - ddof."""
    if len(values) <= ddof:
        return None
    exact = [Fraction(value) for value in values]
    return float(statistics.variance(exact) if ddof else statistics.pvariance(exact))


def root(value: float | None) -> float | None:
    """Square root, of null null."""
    return None if value is None else value**0.5


def percentile(values: list[Any], p: str) -> Any:
    """Value at floor(p / 100 · (n - 1)) of the sorted ones."""
    return sorted(values)[int(Fraction(p) / 100 * (len(values) - 1))] if values else None


def by_time(rows: list[Event], name: str) -> list[Any]:
    """Values of a field by event time, of one time by arrival."""
    return [row[name] for row in sorted(rows, key=lambda row: row["t"]) if row[name] is not None]


def collected(rows: list[Event], name: str, limit: int) -> dict[str, Any]:
    """The earliest, and how many were left out."""
    values = by_time(rows, name)
    return {"values": values[:limit], "left_out": max(0, len(values) - limit)}


def text(value: Any) -> str:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def top(values: list[Any], k: int, order: Callable[[Any], Any] = lambda value: value) -> list[dict[str, Any]]:
    """The most frequent, of one count the smallest."""
    counts = Counter(map(text, values))
    found = sorted(((json.loads(each), count) for each, count in counts.items()), key=lambda v: (-v[1], order(v[0])))
    return [{"value": value, "count": count, "error": 0} for value, count in found[:k]]


def _of(rows: list[Event], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def _one(values: list[Any], place: int) -> Any:
    return values[place] if values else None


#: By the text in a topology: what it must give over rows of {t: timestamp, v: int?, f: float?, s: str, j: json, b: bool}.
MODELS: dict[str, Callable[[list[Event]], Any]] = {
    "count()": len,
    "count(v)": lambda rows: len(_of(rows, "v")),
    "sum(v)": lambda rows: sum(_of(rows, "v")),
    "variance(v)": lambda rows: spread_of(_of(rows, "v"), 1),
    "variance_population(f)": lambda rows: spread_of(_of(rows, "f"), 0),
    "stddev(f)": lambda rows: root(spread_of(_of(rows, "f"), 1)),
    "stddev_population(v)": lambda rows: root(spread_of(_of(rows, "v"), 0)),
    "first(id)": lambda rows: _one(by_time(rows, "id"), 0),
    "first(v)": lambda rows: _one(by_time(rows, "v"), 0),
    "first(j)": lambda rows: _one(by_time(rows, "j"), 0),
    "last(id)": lambda rows: _one(by_time(rows, "id"), -1),
    "last(f)": lambda rows: _one(by_time(rows, "f"), -1),
    "last(s)": lambda rows: _one(by_time(rows, "s"), -1),
    "last(b)": lambda rows: _one(by_time(rows, "b"), -1),
    "collect(id, 3)": lambda rows: collected(rows, "id", 3),
    "collect(id, 1000)": lambda rows: collected(rows, "id", 1000),
    "collect(s, 5)": lambda rows: collected(rows, "s", 5),
    "collect(j, 2)": lambda rows: collected(rows, "j", 2),
    "distinct_count(s)": lambda rows: len(set(_of(rows, "s"))),
    "distinct_count(v)": lambda rows: len(set(_of(rows, "v"))),
    "distinct_count(f)": lambda rows: len(set(_of(rows, "f"))),
    "distinct_count(j)": lambda rows: len(set(map(text, _of(rows, "j")))),
    "distinct_count(b)": lambda rows: len(set(_of(rows, "b"))),
    "median(v)": lambda rows: percentile(_of(rows, "v"), "50"),
    "percentile(v, 99.9)": lambda rows: percentile(_of(rows, "v"), "99.9"),
    "percentile(f, 29)": lambda rows: percentile(_of(rows, "f"), "29"),
    "percentile(f, 0)": lambda rows: percentile(_of(rows, "f"), "0"),
    "percentile(t, 100)": lambda rows: percentile(_of(rows, "t"), "100"),
    "top_k(s, 3)": lambda rows: top(_of(rows, "s"), 3),
    "top_k(s, 1)": lambda rows: top(_of(rows, "s"), 1),
    "top_k(v, 2)": lambda rows: top(_of(rows, "v"), 2),
    "top_k(f, 2)": lambda rows: top(_of(rows, "f"), 2),
    "top_k(b, 1)": lambda rows: top(_of(rows, "b"), 1),
    "top_k(j, 2)": lambda rows: top(_of(rows, "j"), 2, text),
    "spread(f)": lambda rows: max(_of(rows, "f")) - min(_of(rows, "f")) if _of(rows, "f") else None,
}
