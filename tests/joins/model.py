"""What joins must give: plain Python over whole streams, without time passing. Shares no code with the engine.

An event is late when its time lies behind the watermark of its own stream and partition. Everything else is a question
of which events there are, so the order of reading must not matter.
"""

import random
from collections import Counter
from typing import Any

Event = dict[str, Any]


def make_stream(seed: int, count: int, behind: int, keys: str = "abc") -> list[Event]:
    """Events with disorder up to `behind` ms, repeated times, jumps and silences; ids from 0."""
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(count):
        time += chance.choice([0, 0, 1, 2, 5, chance.choice([0, 0, 0, 60, 400])])
        back = chance.choice([0, 0, 0, chance.randrange(behind + 1)])
        events.append({"t": time - back, "k": chance.choice(keys), "id": number})
    return events


def on_time(events: list[Event], delay: int, lateness: int) -> tuple[list[Event], list[Event]]:
    """(events that are not late, late ones) of one partition of a stream."""
    high, kept, late = None, list[Event](), list[Event]()
    for event in events:
        high = event["t"] if high is None else max(high, event["t"])
        (late if event["t"] < high - delay - lateness else kept).append(event)
    return kept, late


def interval_join(left: list[Event], right: list[Event], before: int, after: int) -> list[tuple[Event, Event]]:
    """Every pair of one key with left - before <= right <= left + after."""
    return [
        (one, other)
        for one in left
        for other in right
        if one["k"] == other["k"] and one["t"] - before <= other["t"] <= one["t"] + after
    ]


def without_partner(events: list[Event], partners: set[int], reach: int, watermark: int) -> list[Event]:
    """Events that found none and whose last moment for one the watermark has passed."""
    return [e for e in events if e["id"] not in partners and e["t"] + reach < watermark]


def version_at(versions: list[Event], key: Any, time: int) -> Event | None:
    """The row that a key had at a time: the one of the latest time, of two of one time the last that came."""
    found: Event | None = None
    for event in versions:
        if event["k"] == key and event["t"] <= time and (found is None or event["t"] >= found["t"]):
            found = event
    return None if found is None or found["gone"] else found


def counted(rows: list[Any]) -> Counter[Any]:
    """Rows as a multiset."""
    return Counter(rows)


def combined(rows: list[tuple[int, Event]], ports: int, timeout: int, watermark: int) -> list[dict[int, int]]:
    """What the rows of one key (at most one per port) give: {port: id} of every combination that is decided."""
    times = [event["t"] for _, event in rows]
    if len(rows) == ports and max(times) - min(times) <= timeout:
        return [{port: event["id"] for port, event in rows}]
    found = []
    left = sorted(rows, key=lambda each: each[1]["t"])
    while left and left[0][1]["t"] + timeout < watermark:
        end = left[0][1]["t"] + timeout
        found.append({port: event["id"] for port, event in left if event["t"] <= end})
        left = [each for each in left if each[1]["t"] > end]
    return found
