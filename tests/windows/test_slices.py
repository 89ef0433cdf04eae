"""Windows that close in slices, with checkpoints between: the same results, each final window once, wherever it crashes."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.checkpoint.progress import ClosingProgress, EntryProgress, ProducerMark, Progress
from streamflow.engine import fold_table
from streamflow.errors import StateMismatch
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.windows.test_shapes import make_events

#: Windows behind windows in one stage and behind a repartition: every closing is followed by others.
_PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {A: {t: timestamp, k: str, v: int?, id: int}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 15ms, key: k}
  fine: {kind: window, input: s, window: {type: tumbling, size: 20ms}, aggregate: {n: count()}}
  coarse: {kind: window, input: fine, window: {type: tumbling, size: 100ms}, aggregate: {n: sum(n), rows: count()}}
  visits: {kind: window, input: s, window: {type: session, gap: 30ms}, aggregate: {n: count()}}
  hops: {kind: window, input: s, window: {type: sliding, size: 60ms, slide: 20ms}, aggregate: {n: count()}}
  by_n: {kind: key_by, input: fine, key: n}
  sizes: {kind: window, input: by_n, window: {type: tumbling, size: 200ms}, aggregate: {keys: count()}}
  o1: {kind: sink, input: coarse, topic: coarse}
  o2: {kind: sink, input: visits, topic: visits}
  o3: {kind: sink, input: hops, topic: hops}
  o4: {kind: sink, input: sizes, topic: sizes}
""")
)
_TOPICS = ("coarse", "visits", "hops", "sizes")


def _results(seed: int, closing_rows: int, **shape: Any) -> dict[str, list[Any]]:
    crashes = shape.pop("crashes", {})
    driver = Driver(bounded(_PLAN), partitions=2, **shape)
    driver.crash_at = dict(crashes)
    # The source's events, in a burst: a session per event of a key that comes once, and the end closes them all.
    events = [*make_events(seed, 60), *({"t": 5_000 + n, "k": f"k{n}", "v": 1, "id": n} for n in range(40))]
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(fold_table, "CLOSING_ROWS", closing_rows)
        driver.publish("in", events)
        driver.run()
        driver.finish()
    assert driver.dead_letters() == []
    found = {topic: [tuple(row.items()) for row in driver.output(topic)] for topic in _TOPICS}
    for rows in found.values():
        assert len(set(rows)) == len(rows), "a final window fired twice"
    return {topic: sorted(rows) for topic, rows in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1_000),
    st.integers(1, 4),
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.integers(1, 80), st.sampled_from(CrashPoint), max_size=12),
)
def test_slices_give_what_closing_at_once_gives(
    seed: int, closing_rows: int, chunk_size: int, fused: bool, overlap: bool, crashes: dict[int, CrashPoint]
) -> None:
    expected = _results(seed, 1_000_000, chunk_size=500)
    shape = {"chunk_size": chunk_size, "fused": fused, "overlap": overlap, "crashes": crashes}
    assert _results(seed, closing_rows, **shape) == expected


@pytest.mark.parametrize("window", ["type: tumbling, size: 1s", "type: session, gap: 500ms"])
def test_a_checkpoint_has_one_slice_and_the_event_behind_them_waits(
    window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 windows of one moment, eight at a time; the watermark moves when all have fired."""
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    text = f"""
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, key: k}}
  w: {{kind: window, input: s, window: {{{window}}}, aggregate: {{n: count()}}}}
  o: {{kind: sink, input: w, topic: out}}
"""
    driver = Driver(make_plan(parse_topology(text)))
    driver.publish("in", [{"t": 400, "k": f"k{n}"} for n in range(100)])
    driver.run()
    driver.publish("in", [{"t": 5_000, "k": "k0"}, {"t": 100, "k": "late"}])
    counts = []
    for _ in range(40):
        driver._pass()
        (task,) = driver.tasks()
        counts.append(len(driver.output("out")))
        if task.is_closing:
            assert task.positions["in", 0] == 100
            assert Progress.decode(driver.log.committed["in", 0][1]).watermark_ms == 400
        driver.crash()
    assert max(after - before for before, after in pairwise(counts)) == 8
    assert counts[-1] == 100
    assert len({row["k"] for row in driver.output("out")}) == 100
    driver.run()
    (task,) = driver.tasks()
    assert (task.positions["in", 0], task.watermark_ms) == (102, 5_000)


@pytest.mark.parametrize(
    "closing", [None, ClosingProgress(70), ClosingProgress(1 << 50, 3, -(1 << 62) + 5, 1_234_567, 89)]
)
def test_progress_keeps_what_is_being_closed(closing: ClosingProgress | None) -> None:
    entries = EntryProgress(60), EntryProgress(marks=(ProducerMark(50), ProducerMark(70, True)))
    progress = Progress(55, entries, (1, 0, 7), (("m", "1"),), closing)
    assert Progress.decode(progress.encode()) == progress
    assert progress.encode()[0] == ("1" if closing is None else "2")


def _mark(driver: Driver, topic: str, producer: int, watermark_ms: int, *, idle: bool) -> None:
    """A mark, and the end of its transaction."""
    log = driver.log.partitions[topic, 0]
    log.append(None, orjson.dumps({"producer": producer, "watermark": watermark_ms, "idle": idle}), driver.now_ms)
    log.next_offset += 1


def _behind_marks() -> tuple[Driver, str, int]:
    """A task with windows behind a repartition topic, whose log has two marks side by side before its last row.

    The first one closes the windows of 40 keys. Gives driver, topic and the offset of the first mark.
    """
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t}
  by: {kind: key_by, input: s, key: k}
  w: {kind: window, input: by, window: {type: tumbling, size: 1s}, aggregate: {n: count()}}
  o: {kind: sink, input: w, topic: out}
"""
    driver = Driver(make_plan(parse_topology(text)), partitions=2)
    driver.publish("in", [{"t": 400, "k": f"k{n}"} for n in range(80)])
    driver.run()
    topic = driver.plan.stages[1].entries[0].topic
    log = driver.log.partitions[topic, 0]
    row = next(record for record in log.records if record.value is not None and record.value.startswith(b"["))

    def mark(producer: int, watermark_ms: int) -> None:
        _mark(driver, topic, producer, watermark_ms, idle=False)

    assert row.value is not None
    mark(1, 5_000)
    log.append(row.key, row.value, driver.now_ms)
    first = log.next_offset
    mark(0, 5_000)
    mark(1, 9_000)
    log.append(row.key, row.value.replace(b"400", b"9500"), driver.now_ms)
    mark(0, 9_000)
    return driver, topic, first


def test_a_mark_behind_the_one_that_closes_windows_survives_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    driver, topic, _ = _behind_marks()
    for _ in range(40):
        driver._pass()
        driver.crash()
    driver.run()
    (task,) = (task for task in driver.tasks() if (topic, 0) in task.positions and task.partition == 0)
    assert task.watermark_ms == 9_000


def test_marks_before_the_first_row_that_was_not_worked_on_are_read_again() -> None:
    """A checkpoint between two slices of a chunk."""
    driver, topic, first = _behind_marks()
    task = driver._task(driver.plan.stages[1], 0)
    chunk = driver.log.chunk(topic, 0, task.positions[topic, 0], 1_000, True, driver.now_ms)
    assert chunk is not None
    assert task.process(0, chunk, 0, len(chunk.values) - 1) == len(chunk.values) - 1
    assert task.positions[topic, 0] <= first


def test_the_wall_clock_waits_until_windows_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that expires between two slices, for a window that is firing: it is late, and takes no result away."""
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  gate: {kind: approval, input: s, deadline: 500ms, time: event}
  w: {kind: window, input: gate.expired, window: {type: tumbling, size: 1s}, aggregate: {n: count()}}
  o: {kind: sink, input: w, topic: out}
  o2: {kind: sink, input: gate.approved, topic: approved}
  o3: {kind: sink, input: gate.rejected, topic: rejected}
"""
    driver = Driver(make_plan(parse_topology(text)))
    driver.publish("in", [{"t": 400, "k": f"k{n}"} for n in range(10, 50)])
    driver.run()
    driver.now_ms += 500
    (task,) = driver.tasks()
    task.tick(driver.now_ms)
    driver.run()
    driver.publish("in", [{"t": 400, "k": "k40"}])
    driver.run()
    driver.publish("in", [{"t": 5_000, "k": "k0"}])
    driver.now_ms += 500
    while driver._pass():
        (task,) = driver.tasks()
        if task.is_closing and driver.output("out"):
            task.tick(driver.now_ms)
    assert sorted((row["k"], row["n"]) for row in driver.output("out")) == [(f"k{n}", 1) for n in range(10, 50)]
    task.tick(driver.now_ms)
    assert sum(task.counters.late) == 1


def test_who_closes_windows_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both producers have nothing more: the task behind says so too, but only with its last rows."""
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t}
  by: {kind: key_by, input: s, key: k}
  w: {kind: window, input: by, window: {type: tumbling, size: 1s}, aggregate: {n: count()}}
  by_n: {kind: key_by, input: w, key: n}
  w2: {kind: window, input: by_n, window: {type: tumbling, size: 1s}, aggregate: {keys: count()}}
  o: {kind: sink, input: w2, topic: out}
"""
    driver = Driver(make_plan(parse_topology(text)), partitions=2)
    driver.publish("in", [{"t": 400, "k": f"k{n}"} for n in range(80)])
    driver.run()
    topic, behind = (driver.plan.stages[number].entries[0].topic for number in (1, 2))
    for producer in (0, 1):
        _mark(driver, topic, producer, 5_000, idle=True)
    driver.run()
    records = driver.log.partitions[behind, 0].records
    marks = [orjson.loads(each.value) for each in records if each.value is not None and each.value.startswith(b"{")]
    mine = [(mark["watermark"], mark["idle"]) for mark in marks if mark["producer"] == 0]
    assert mine[-1] == (5_000, True)
    assert not any(idle for _, idle in mine[:-1])


@pytest.mark.parametrize(
    "window", ["type: tumbling, size: 20ms", "type: sliding, size: 40ms, slide: 20ms", "type: session, gap: 5ms"]
)
@pytest.mark.parametrize("keys", ["ab", "abcdefg"])
@pytest.mark.parametrize("crashes", [{}, dict.fromkeys(range(1, 40, 2), CrashPoint.BEFORE_STORE)])
def test_windows_that_fire_in_slices_are_not_corrected_for_it(
    window: str, keys: str, crashes: dict[int, CrashPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of all came in the chunk that closes them, so each result is told once."""
    text = f"""
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: 1s, key: k}}
  w: {{kind: window, input: s, window: {{{window}}}, allowed_lateness: 10s, aggregate: {{n: count()}}}}
  o: {{kind: sink, input: w, topic: out}}
"""
    results = []
    for closing_rows in (3, 1_000):
        monkeypatch.setattr(fold_table, "CLOSING_ROWS", closing_rows)
        driver = Driver(make_plan(parse_topology(text)))
        driver.crash_at = dict(crashes)
        driver.publish("in", [*({"t": t, "k": k} for t in range(0, 200, 10) for k in keys), {"t": 5_000, "k": "a"}])
        driver.publish("in", [{"t": 30, "k": "a"}])
        driver.run()
        results.append(sorted((row["start"], row["k"], row["n"], row["revision"]) for row in driver.output("out")))
    assert results[0] == results[1]


def test_tables_do_not_change_while_windows_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window in front of the one that is being closed would take its place."""
    monkeypatch.setattr(fold_table, "CLOSING_ROWS", 8)
    text = """
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, key: k}}
{more}  w: {{kind: window, input: s, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
  o: {{kind: sink, input: w, topic: out}}
"""
    more = "  a: {kind: window, input: s, window: {type: tumbling, size: 1s}, aggregate: {n: count()}}\n"
    more += "  oa: {kind: sink, input: a, topic: other}\n"
    before, after = (Driver(make_plan(parse_topology(text.format(more=each)))) for each in ("", more))
    before.publish("in", [{"t": 400, "k": f"k{n}"} for n in range(40)])
    before.run()
    before.publish("in", [{"t": 5_000, "k": "k0"}])
    before._pass()
    assert all(task.is_closing for task in before.tasks())
    after.log.partitions |= before.log.partitions
    after.log.committed = before.log.committed
    with pytest.raises(StateMismatch, match="as it was"):
        after.run()
    before.run()
    after.run()
    assert len(after.output("out")) == 40
