"""Figures of a stream: exact moving averages, and counts that do not depend on the shape of a run."""

import pytest

from streamflow.plan.planner import make_plan
from streamflow.runtime.figures import Smoothed, StreamFigures
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 5ms, key: k}
  w: {kind: window, input: s, window: {type: tumbling, size: 10ms}, early: 1ms, aggregate: {n: count()}}
  o: {kind: sink, input: w, topic: out}
"""


def test_a_known_sequence_gives_the_exact_average() -> None:
    smoothed, found = Smoothed(), []
    for current in (100, 200, 0, 50):
        smoothed.add(current)
        found.append(smoothed.value)
    assert found == pytest.approx([100, 110, 99, 94.1])


def test_commits_give_rate_and_latency() -> None:
    figures = StreamFigures()
    figures.committed(50, 1_000, 1_500)
    figures.committed(0, 0, 1_700)  # only time went on
    figures.committed(30, 1_400, 1_800)  # fetched before the last commit ended: counted from there
    assert (figures.events, figures.committed_at_ms) == (80, 1_800)
    assert figures.events_per_s.value == pytest.approx(0.1 * 100 + 0.9 * 100)
    assert figures.latency_ms.value == pytest.approx(0.1 * 400 + 0.9 * 500)


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_disorder_and_closed_windows_are_counted(chunk_size: int) -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY)), chunk_size=chunk_size)
    times = [1, 5, 3, 5, 12, 9, 40, 39, 60]
    driver.publish("in", [{"t": time, "k": "a"} for time in times])
    driver.run()
    counters = driver.tasks()[0].counters
    assert counters.disordered == [3]
    assert sum(counters.closed) == sum(row["final"] for row in driver.output("out")) == 4
