"""Joins of the results of windows in one stage: what closes at one moment meets, and is not late, however late it is."""

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joins.model import Event
from tests.joins.runs import RUNS, Run, of_partition, run

_TOPOLOGY = """
topology: t
schemas:
  L: {{t: timestamp, k: str}}
  R: {{t: timestamp, k: str}}
nodes:
  left: {{kind: source, topic: left, schema: L, event_time: t, watermark_delay: 20ms, key: k}}
  right: {{kind: source, topic: right, schema: R, event_time: t, watermark_delay: 20ms, key: k}}
  lw: {{kind: window, input: left, window: {{type: tumbling, size: 50ms}}, aggregate: {{n: count()}}, emit: final,
       allowed_lateness: {left}ms}}
  rw: {{kind: window, input: right, window: {{type: tumbling, size: 50ms}}, aggregate: {{n: count()}}, emit: final,
       allowed_lateness: {right}ms}}
  same: {{kind: join, inputs: [lw, rw], within: 0s, type: full, late: late,
         fields: {{k: lw.k, start: lw.start, n: lw.n, r_start: rw.start, m: rw.n}}}}
  counts: {{kind: table, input: rw}}
  newest: {{kind: table_join, inputs: [lw, counts], type: left, late: late,
           fields: {{k: lw.k, start: lw.start, n: lw.n, m: counts.n}}}}
  so: {{kind: sink, input: same, topic: same}}
  no: {{kind: sink, input: newest, topic: newest}}
"""


def _stream(seed: int) -> list[Event]:
    """Events with less disorder than the delay, and silences."""
    chance = random.Random(seed)
    time_ms, found = 1_000, []
    for _ in range(60):
        time_ms += chance.choice([0, 1, 4, 9, 180])
        found.append({"t": time_ms - chance.randrange(20), "k": chance.choice("abc")})
    return found


def _closed(events: list[Event], watermark_ms: int) -> dict[tuple[str, int], int]:
    counts = Counter((event["k"], event["t"] // 50 * 50) for event in events)
    return {place: count for place, count in counts.items() if place[1] + 50 <= watermark_ms}


def _expected(left: list[Event], right: list[Event], lateness_ms: int) -> tuple[list[Any], list[Any]]:
    """Rows of both joins, of one partition; they are known when the later of the windows is."""
    if not left or not right:
        return [], []
    watermark_ms = min(max(event["t"] for event in side) for side in (left, right)) - 20 - lateness_ms
    lefts, rights = _closed(left, watermark_ms), _closed(right, watermark_ms)
    same = [(place[0], lefts.get(place), rights.get(place)) for place in lefts.keys() | rights.keys()]
    newest = []
    for (key, start), count in lefts.items():
        before = max((each for each in rights if each[0] == key and each[1] <= start), default=None)
        newest.append((key, start, count, None if before is None else rights[before]))
    return same, newest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), RUNS, st.sampled_from([0, 30, 170]), st.sampled_from([0, 30, 170]))
def test_results_that_close_at_one_moment_meet(seed: int, shape: Run, of_left: int, of_right: int) -> None:
    left, right = _stream(seed), _stream(seed + 1)
    driver = run(_TOPOLOGY.format(left=of_left, right=of_right), {"left": left, "right": right}, shape)
    same: list[Any] = []
    newest: list[Any] = []
    for partition in range(shape.partitions):
        found = _expected(
            of_partition(left, partition, shape), of_partition(right, partition, shape), max(of_left, of_right)
        )
        same += found[0]
        newest += found[1]
    assert Counter((row["k"], row["n"], row["m"]) for row in driver.output("same")) == Counter(same)
    assert Counter((r["k"], r["start"], r["n"], r["m"]) for r in driver.output("newest")) == Counter(newest)
    assert driver.output("late") == driver.dead_letters() == []
