"""Async nodes without an order: rows overtake others, and all results are those of the model, whatever crashes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.checkpoint.progress import EntryProgress, ProducerMark, Progress
from streamflow.engine.task import Task
from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.calls.test_shapes import halves, make_events

TOPOLOGY = """
topology: t
schemas: {Asked: {t: timestamp, shop: str, number: int, wait_ms: int}}
nodes:
  s:    {kind: source, topic: in, schema: Asked, event_time: t, watermark_delay: 20ms, key: shop}
  half: {kind: python, input: s, call: "tests.calls.functions:halved", concurrency: 8, order: unordered}
  rows: {kind: sink, input: half, topic: rows}
  w:    {kind: window, input: half, window: {type: tumbling, size: 100ms}, aggregate: {n: count(), total: sum(half)}}
  out:  {kind: sink, input: w, topic: windows}
"""
PLAN = bounded(make_plan(parse_topology(TOPOLOGY)))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 2),
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.sampled_from([1, 3, None]),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=4),
)
def test_any_shape_equals_the_model(
    seed: int, partitions: int, chunk_size: int, overlap: bool, call_steps: int | None, crashes: dict[int, CrashPoint]
) -> None:
    """Checkpoints and crashes come while rows have overtaken others; some values do not decode."""
    events = make_events(seed, 60)
    driver = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, overlap=overlap, call_steps=call_steps)
    driver.crash_at = dict(crashes)
    for start in range(0, len(events), 25):
        driver.publish("in", events[start : start + 25])
        driver.publish("in", [b"no row"])
        driver.run()
    driver.finish()
    driver.close()
    given_rows = [(e["shop"], e["number"], e["t"]) for e in events for _ in range(max(0, halves(e["number"], 13)))]
    found = [(row["shop"], row["number"]) for row in driver.output("rows")]
    assert sorted(found) == sorted((shop, number) for shop, number, _ in given_rows)
    windows: dict[tuple[str, int], list[int]] = {}
    for shop, number, time in given_rows:
        windows.setdefault((shop, time // 100 * 100), []).append(number // 2)
    told = {(row["shop"], row["start"]): (row["n"], row["total"]) for row in driver.output("windows")}
    assert told == {key: (len(rows), sum(rows)) for key, rows in windows.items()}
    assert len(driver.output("windows")) == len(windows), "a window came twice, or a row was late"
    failed = [event for event in events if halves(event["number"], 13) < 0]
    assert len(driver.dead_letters()) == len(failed) + 3


def _asked(number: int, wait_ms: int) -> dict[str, Any]:
    return {"t": 1_000 + number, "shop": "a", "number": number, "wait_ms": wait_ms}


def _half(driver: Driver) -> Task | None:
    return next((each for each in driver.tasks() if "half" in each.answers), None)


def test_a_row_that_waits_holds_the_watermark_and_nothing_else() -> None:
    """Others leave and are committed; after a crash only the row that waits is asked again."""
    driver = Driver(PLAN, call_steps=1)
    driver.publish("in", [_asked(2, 3_600_000), *(_asked(number, 0) for number in range(4, 404, 8))])
    while (task := _half(driver)) is None or len(task.overtaken(0)) < 50 or task.has_changes:
        driver._pass()
    numbers = [row["number"] for row in driver.output("rows")]
    expected = [n for n in range(4, 404, 8) for _ in range(max(0, halves(n, 13)))]
    assert sorted(numbers) == expected
    assert task.positions["t.half.queue", 0] == 0
    assert task.watermark_ms < 0
    assert task.overtaken(0) == set(range(1, 51))
    driver.crash()
    driver.publish("in", [_asked(6, 0)])
    while (task := _half(driver)) is None or len(task.overtaken(0)) < 51:
        driver._pass()
    assert [row["number"] for row in driver.output("rows")] == [*numbers, 6, 6]
    assert driver.calls.guarded["half"].under_way == 2, "the row of the dead task, and its successor's"
    driver.close()


def test_chunks_of_marks_alone_hold_up_nothing() -> None:
    """Of a producer whose rows go elsewhere there are marks only; rows behind them may be offered before a step."""
    driver = Driver(PLAN, call_steps=0)
    queue, behind = driver.plan.stages
    for event in (b"no row", _asked(4, 0)):
        driver.publish("in", [event])
        driver._step(queue, 0)
    driver._task(behind, 0)
    (entry,) = driver._entries[behind.name, 0].values()
    sizes = []
    while (chunk := driver.log.chunk("t.half.queue", 0, entry.next_offset, 1, True, driver.now_ms)) is not None:
        sizes.append(len(chunk.values))
        entry.offer(chunk)
    assert sizes[:2] == [0, 1]
    driver._await(entry.settle())
    driver.run()
    assert [row["number"] for row in driver.output("rows")] == [4] * halves(4, 13)
    driver.close()


@given(st.lists(st.sets(st.integers(10**9, 10**9 + 4_095)), min_size=1, max_size=2), st.booleans())
def test_overtaken_offsets_survive_in_the_progress(found: list[set[int]], marked: bool) -> None:
    marks = (ProducerMark(5_000), ProducerMark(7_000, idle=True)) if marked else ()
    entries = tuple(EntryProgress(marks=marks, overtaken=frozenset(each)) for each in found)
    progress = Progress(1_700_000_000_000, entries, counts=(1, 2), versions=(("model", "1.2"),))
    assert Progress.decode(progress.encode()) == progress
    assert len(progress.encode()) < 700 * len(found) + 100


def test_updates_cannot_overtake_one_another() -> None:
    sums = """
  sums: {kind: window, input: s, window: {type: tumbling, size: 1s}, emit: update, aggregate: {n: count()}}
  grown: {kind: map, input: sums, set: {number: n, wait_ms: n}}
  half:"""
    text = TOPOLOGY.replace("\n  half:", sums).replace("input: s, call", "input: grown, call")
    with pytest.raises(TopologyError) as caught:
        make_plan(parse_topology(text))
    assert "nodes.half.order" in {problem.place for problem in caught.value.problems}
