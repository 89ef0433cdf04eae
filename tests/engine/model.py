"""An independent model of what a topology must give: plain Python over the published events."""

import random
from typing import Any

TOPOLOGY = """
topology: t
schemas: {Dep: {time: timestamp, carrier: str, origin: str, delay: float?, n: int}}
nodes:
  deps: {kind: source, topic: in, schema: Dep, event_time: time, watermark_delay: 40ms, key: origin, partitions: 2}
  flown: {kind: filter, input: deps, where: delay is not None}
  early: {kind: threshold, input: flown, field: delay, limit: 0, when: below}
  late: {kind: filter, input: flown, where: delay >= 0}
  both: {kind: pass_through, inputs: [early, late]}
  by_carrier: {kind: key_by, input: both, key: carrier}
  w: {kind: window, input: by_carrier, window: {type: tumbling, size: 10ms, offset: 3ms},
      aggregate: {n: count(), s: sum(n), mean: average(delay), lo: min(delay), hi: max(delay * 2)}}
  out: {kind: sink, input: w, topic: results}
  many: {kind: filter, input: w, where: n > 2}
  twice: {kind: multiply, input: many, field: s, factor: 2, into: doubled}
  out2: {kind: sink, input: twice, topic: many_results}
  counted: {kind: echo, input: by_carrier, table: counts}
  out3: {kind: sink, input: counted, topic: counted}
  live: {kind: window, input: by_carrier, window: {type: tumbling, size: 20ms}, aggregate: {n: count()}, emit: update}
  out4: {kind: sink, input: live, topic: live_results}
"""


def make_events(count: int, seed: int) -> list[dict[str, Any]]:
    """Events whose disorder (30 ms) stays within the watermark's delay (40 ms)."""
    chance = random.Random(seed)
    return [
        {
            "time": 1_000 + i + chance.randrange(-15, 15),
            "carrier": chance.choice("ABCDE"),
            "origin": chance.choice(["EWR", "JFK", "LGA"]),
            "delay": chance.choice([None, 1.5, 2, 3, -4]),
            "n": chance.randrange(100),
        }
        for i in range(count)
    ]


def windows(events: list[dict[str, Any]], size: int, offset: int) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Flown events per (carrier, window start)."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for event in events:
        if event["delay"] is not None:
            start = (event["time"] - offset) // size * size + offset
            found.setdefault((event["carrier"], start), []).append(event)
    return found


def results(events: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Results of window `w`."""
    return {
        key: {
            "n": len(rows),
            "s": sum(row["n"] for row in rows),
            "mean": sum(row["delay"] for row in rows) / len(rows),
            "lo": min(row["delay"] for row in rows),
            "hi": max(row["delay"] for row in rows) * 2,
        }
        for key, rows in windows(events, 10, 3).items()
    }
