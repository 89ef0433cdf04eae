"""What windows must give: plain Python over the events of one partition, one by one. Shares no code with the engine."""

from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class Expected:
    """Of one run: content of every window at each of its firings, everything it ever took, and the late events."""

    fired: dict[tuple[Any, ...], list[list[Event]]] = field(default_factory=dict)
    content: dict[tuple[Any, ...], list[Event]] = field(default_factory=dict)
    late: list[Event] = field(default_factory=list)


def aligned(events: list[Event], size: int, slide: int, offset: int, delay: int, lateness: int, lag: int) -> Expected:
    """Tumbling (slide == size) and sliding windows. Keys are (key, start)."""
    found, high = Expected(), None
    told: set[tuple[Any, ...]] = set()
    for event in events:
        time = event["t"]
        high = time if high is None else max(high, time)
        watermark = high - delay
        for place, rows in found.content.items():
            if place not in told and place[1] + size + lag <= watermark:
                told.add(place)
                found.fired.setdefault(place, []).append(rows[:])
        first = (time - offset) // slide * slide + offset
        starts = [start for start in range(first, time - size, -slide) if start + size + lateness > watermark]
        for start in starts:
            place = (event["k"], start)
            found.content.setdefault(place, []).append(event)
            if start + size + lag <= watermark:  # fired, or it would have: a correction
                told.add(place)
                found.fired.setdefault(place, []).append(found.content[place][:])
        if not starts:
            found.late.append(event)
    return found


def sessions(events: list[Event], gap: int, delay: int, lateness: int, lag: int) -> Expected:
    """Sessions. Keys are (key, start, end)."""
    found, high = Expected(), None
    live: list[dict[str, Any]] = []
    for event in events:
        time = event["t"]
        high = time if high is None else max(high, time)
        watermark = high - delay
        for each in live:
            if not each["told"] and each["last"] + gap + lag <= watermark:
                each["told"] = True
                found.fired.setdefault((each["k"], each["first"], each["last"] + gap), []).append(each["rows"][:])
        for each in [each for each in live if each["last"] + gap + lateness <= watermark]:
            live.remove(each)
            found.content[each["k"], each["first"], each["last"] + gap] = each["rows"]
        touching = [
            each for each in live
            if each["k"] == event["k"] and each["first"] < time + gap and time < each["last"] + gap
        ]  # fmt: skip
        if not touching and time + gap + lateness <= watermark:
            found.late.append(event)
            continue
        merged = {
            "k": event["k"],
            "first": min([time, *(each["first"] for each in touching)]),
            "last": max([time, *(each["last"] for each in touching)]),
            "rows": [row for each in touching for row in each["rows"]] + [event],
        }
        merged["told"] = merged["last"] + gap + lag <= watermark
        if merged["told"]:
            place = (merged["k"], merged["first"], merged["last"] + gap)
            found.fired.setdefault(place, []).append(merged["rows"][:])
        live = [each for each in live if each not in touching] + [merged]
    for each in live:
        found.content[each["k"], each["first"], each["last"] + gap] = each["rows"]
    return found


def counted(events: list[Event], size: int, slide: int) -> Expected:
    """Count windows. Keys are (key, number)."""
    found = Expected()
    by_key: dict[Any, list[Event]] = {}
    for event in events:
        by_key.setdefault(event["k"], []).append(event)
    for key, rows in by_key.items():
        for number, start in enumerate(range(0, len(rows) - size + 1, slide)):
            found.fired[key, number] = [rows[start : start + size]]
    return found


def results(rows: list[Event]) -> dict[str, Any]:
    """The aggregates of the tests' windows."""
    values = [row["v"] for row in rows if row["v"] is not None]
    return {
        "n": len(rows),
        "s": sum(values),
        "mean": sum(values) / len(values) if values else None,
        "lo": min(values, default=None),
        "hi": max(values, default=None),
    }
