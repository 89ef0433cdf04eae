"""deduplicate equals a model that never forgets: so what it forgets is never missed."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import distinct_table
from streamflow.errors import TopologyError
from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

DELAY = 10
Event = dict[str, Any]
_TOPOLOGY = """
topology: t
schemas: {{Payment: {{t: timestamp, k: str, id: int, part: str, n: int, note: str?}}}}
nodes:
  s: {{kind: source, topic: in, schema: Payment, event_time: t, watermark_delay: 10ms, key: k}}
  d: {{kind: deduplicate, input: s, {config}}}
  o: {{kind: sink, input: d, topic: out}}
"""


def _events(seed: int, count: int = 200) -> list[Event]:
    """Duplicates near and far, disorder far beyond the delay, jumps over whole lives of ids."""
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(count):
        time += chance.choice([0, 1, 1, 2, 3, chance.choice([0, 0, 15, 120])])
        behind = chance.choice([0, 0, 0, chance.randrange(12), chance.randrange(70)])
        event: Event = {"t": time - behind, "k": chance.choice("abc"), "id": chance.randrange(6)}
        events.append(event | {"part": chance.choice("xy"), "n": number, "note": None})
    return events


class Model:
    """One partition: every row that passed, for ever."""

    def __init__(self, within: int, lateness: int, by: tuple[str, ...]) -> None:
        self.passed: list[Event] = []
        self.late: list[Event] = []
        self._within, self._lateness, self._by = within, lateness, by
        self._first: dict[tuple[Any, ...], int] = {}
        self._watermark = -(10**18)

    def event(self, event: Event) -> None:
        self._watermark = max(self._watermark, event["t"] - DELAY)
        identity = tuple(event[name] for name in ("k", *self._by))
        first = self._first.get(identity)
        if self._watermark - event["t"] >= self._lateness:
            self.late.append(event)
        elif first is None or event["t"] - first >= self._within:
            self._first[identity] = event["t"]
            self.passed.append(event)


@pytest.fixture(autouse=True, params=[1_000_000, 6])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for all ids, and with memory for six, so that the store is asked."""
    monkeypatch.setattr(distinct_table, "MAX_LIVE", request.param)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(1, 1), (5, 5), (20, 20), (20, 0), (50, 3), (7, 40), (300, 300)]),
    st.sampled_from([(), ("id",), ("id", "part")]),
    st.integers(1, 4),
    st.sampled_from([1, 3, 17, 500]),
    st.booleans(),
    st.integers(1, 4),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5),
)
def test_any_shape_equals_the_model(
    seed: int,
    times: tuple[int, int],
    by: tuple[str, ...],
    partitions: int,
    chunk_size: int,
    fused: bool,
    every: int,
    crashes: dict[int, CrashPoint],
) -> None:
    within, lateness = times
    config = f"within: {within}ms, allowed_lateness: {lateness}ms, late: late, by: [{', '.join(by)}]"
    plan = make_plan(parse_topology(_TOPOLOGY.format(config=config)))
    driver = Driver(plan, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=every)
    driver.crash_at = dict(crashes)
    events, models = _events(seed), [Model(within, lateness, by) for _ in range(partitions)]
    for start in range(0, len(events), 30):
        driver.publish("in", events[start : start + 30])
        driver.run()
    for event in events:
        models[partition_of(event["k"].encode(), partitions)].event(event)
    assert driver.output("out") == [row for model in models for row in model.passed]
    assert driver.output("late") == [row for model in models for row in model.late]
    assert driver.dead_letters() == []


def test_what_nobody_may_ask_for_leaves_memory_and_store() -> None:
    plan = make_plan(parse_topology(_TOPOLOGY.format(config="within: 1s, by: [id]")))
    driver = Driver(plan, chunk_size=100)
    for start in range(0, 20_000, 1_000):
        rows = [{"t": start + i, "k": "a", "id": start + i, "part": "", "n": 0} for i in range(1_000)]
        driver.publish("in", rows)
        driver.run()
    assert len(driver.output("out")) == 20_000
    # 2 s of ids (within, and as long for late rows), the delay, and a slot of 125 ms that is not over.
    assert driver.tasks()[0].open_windows() <= 2_000 + DELAY + 250
    table = driver.table("d")
    assert 2_000 <= len(table) <= 2_000 + DELAY + 250
    assert table['["a",19999]', 19_875] == {"first": 19_999}


def test_ids_that_are_too_large_leave_for_the_dead_letters() -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(config="within: 1s, by: [part]"))))
    driver.publish("in", [{"t": 1, "k": "a", "id": 1, "part": "x" * size, "n": 0} for size in (20_000, 5)])
    driver.run()
    assert [row["part"] for row in driver.output("out")] == ["xxxxx"]
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["too_large"]


@pytest.mark.parametrize(("by", "said"), [("note", "note may be null"), ("nothing", "nothing")])
def test_ids_that_mean_nothing_are_refused(by: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        parse_topology(_TOPOLOGY.format(config=f"within: 1s, by: [{by}]"))


def test_the_same_thousand_events_again_change_no_table() -> None:
    window = (
        "window, input: d, window: {type: tumbling, size: 100ms}, aggregate: {n: count(), total: sum(n)}, table: sums"
    )
    text = _TOPOLOGY.format(config="within: 1h, allowed_lateness: 1h, by: [n]") + f"  w: {{kind: {window}}}\n"
    driver = Driver(make_plan(parse_topology(text)), partitions=2)
    events = _events(1, 1_000)
    driver.publish("in", events)
    driver.run()
    before = driver.table("sums")
    assert len(driver.output("out")) == 1_000
    driver.publish("in", events)
    driver.run()
    assert driver.table("sums") == before
    assert len(driver.output("out")) == 1_000
