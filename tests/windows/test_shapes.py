"""Every shape of windows equals the model: any disorder, chunks, partitions, fused or not, crash and resume."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import fold_table
from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.windows import model
from tests.windows.model import Event, Expected, results

DELAY = 10


@dataclass(frozen=True)
class Run:
    """How a topology is run."""

    partitions: int
    chunk_size: int
    fused: bool
    every: int
    crashes: tuple[tuple[int, CrashPoint], ...]
    overlap: bool = False
    live_max: int = fold_table.MAX_LIVE
    closing_rows: int = fold_table.CLOSING_ROWS


RUNS = st.builds(
    Run,
    st.integers(1, 4),
    st.sampled_from([1, 3, 17, 500]),
    st.booleans(),
    st.integers(1, 4),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5).map(lambda d: tuple(d.items())),
    st.booleans(),
    st.sampled_from([1, 3, fold_table.MAX_LIVE]),
    st.sampled_from([1, 2, fold_table.CLOSING_ROWS]),
)


def make_events(seed: int, count: int = 150) -> list[Event]:
    """Disorder beyond the delay, jumps and silences."""
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(count):
        time += chance.choice([0, 0, 1, 1, 2, 3, chance.choice([0, 0, 0, 40, 200])])
        behind = chance.choice([0, 0, 0, chance.randrange(12), chance.randrange(60)])
        value = chance.choice([None, chance.randrange(-50, 50)])
        events.append({"t": time - behind, "k": chance.choice("abc"), "v": value, "id": number})
    return events


_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: int?, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: {delay}ms, key: k}}
  w: {{kind: window, input: s, {window},
      aggregate: {{n: count(), s: sum(v), mean: average(v), lo: min(v), hi: max(v)}}}}
  o: {{kind: sink, input: w, topic: out}}
"""


@contextmanager
def bounds_of(shape: Run) -> Iterator[None]:
    """The bounds of a run."""
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(fold_table, "MAX_LIVE", shape.live_max)
        bounds.setattr(fold_table, "CLOSING_ROWS", shape.closing_rows)
        yield


def run(window: str, events: list[Event], shape: Run) -> Driver:
    """Run a topology of one window over the events."""
    plan = make_plan(parse_topology(_TOPOLOGY.format(delay=DELAY, window=window)))
    driver = Driver(
        plan,
        partitions=shape.partitions,
        chunk_size=shape.chunk_size,
        fused=shape.fused,
        checkpoint_every=shape.every,
        overlap=shape.overlap,
    )
    driver.crash_at = dict(shape.crashes)
    with bounds_of(shape):
        for start in range(0, len(events), 40):
            driver.publish("in", events[start : start + 40])
            driver.run()
    return driver


def expected(events: list[Event], shape: Run, find: Callable[[list[Event]], Expected]) -> Expected:
    """The model's results over all partitions, each with a watermark of its own."""
    whole = Expected()
    for partition in range(shape.partitions):
        part = find([e for e in events if partition_of(e["k"].encode(), shape.partitions) == partition])
        whole.fired |= part.fired
        whole.content |= part.content
        whole.late += part.late
    return whole


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("n", "s", "mean", "lo", "hi")}


def _by_place(driver: Driver, *names: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in driver.output("out"):
        found.setdefault(tuple(row[name] for name in ("k", *names)), []).append(row)
    return found


def check_once(driver: Driver, model_of: Expected, *names: str) -> None:
    """Every window that fired did so once, with the model's results."""
    emitted = _by_place(driver, *names)
    assert {place: [_values(row) for row in rows] for place, rows in emitted.items()} == {
        place: [results(rows) for rows in fired] for place, fired in model_of.fired.items()
    }


def check_late(driver: Driver, model_of: Expected) -> None:
    """Exactly the model's late events left for the late topic."""
    assert sorted(row["id"] for row in driver.output("late")) == sorted(row["id"] for row in model_of.late)
    assert all(int(dict(record.headers)["sf-late-ms"]) >= 0 for record in driver.records("late"))


def check_table(driver: Driver, model_of: Expected) -> None:
    """The table has every window, open and closed; where a model's place has an end too, the start must do."""
    table = driver.table("w")
    content = {place[:2]: results(rows) for place, rows in model_of.content.items()}
    assert table == content


ALIGNED = st.sampled_from(
    [(10, 10, 0), (7, 7, 3), (10, 5, 0), (10, 4, 3), (30, 1, 0), (12, 7, 2), (5, 2, 1), (1, 1, 0)]
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), ALIGNED, RUNS, st.sampled_from([0, 5, 40]), st.booleans())
def test_aligned_windows(seed: int, aligned: tuple[int, int, int], shape: Run, lateness: int, suppressed: bool) -> None:
    """Tumbling and sliding; with lateness either suppressed until final, or corrected."""
    size, slide, offset = aligned
    kind = f"type: tumbling, size: {size}ms" if size == slide else f"type: sliding, size: {size}ms, slide: {slide}ms"
    lag = lateness if suppressed else 0
    window = f"window: {{{kind}, offset: {offset}ms}}, late: late, allowed_lateness: {lateness}ms"
    events = make_events(seed)
    driver = run(window + (", emit: final" if suppressed else ""), events, shape)
    wanted = expected(events, shape, lambda part: model.aligned(part, size, slide, offset, DELAY, lateness, lag))
    if suppressed or lateness == 0:
        check_once(driver, wanted, "start")
    else:
        check_corrected(driver, wanted, "start")
    check_late(driver, wanted)
    check_table(driver, wanted)
    assert all(row["end"] == row["start"] + size for row in driver.output("out"))


def check_corrected(driver: Driver, model_of: Expected, *names: str) -> None:
    """Corrections are gathered at checkpoints, so some of the model's may be missing; the last one is there."""
    emitted = _by_place(driver, *names)
    assert emitted.keys() == model_of.fired.keys()
    for place, rows in emitted.items():
        wanted = [results(fired) for fired in model_of.fired[place]]
        assert _values(rows[-1]) == wanted[-1]
        assert all(_values(row) in wanted for row in rows)
        revisions = [row["revision"] for row in rows]
        assert revisions == sorted(set(revisions))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 8, 30]), RUNS, st.sampled_from([0, 5, 40]), st.booleans())
def test_sessions(seed: int, gap: int, shape: Run, lateness: int, suppressed: bool) -> None:
    """Sessions grow, are bridged by late events, and with lateness fire again."""
    lag = lateness if suppressed else 0
    window = f"window: {{type: session, gap: {gap}ms}}, late: late, allowed_lateness: {lateness}ms"
    events = make_events(seed)
    driver = run(window + (", emit: final" if suppressed else ""), events, shape)
    wanted = expected(events, shape, lambda part: model.sessions(part, gap, DELAY, lateness, lag))
    if suppressed or lateness == 0:
        check_once(driver, wanted, "start", "end")
    else:
        check_sessions_corrected(driver, wanted)
    check_late(driver, wanted)
    check_table(driver, wanted)


def check_sessions_corrected(driver: Driver, model_of: Expected) -> None:
    """Of a session that changes while it is told, only what it was at checkpoints is: but what it came to be is."""
    emitted = _by_place(driver, "start", "end")
    for place, rows in emitted.items():
        wanted = [results(fired) for fired in model_of.fired[place]]
        assert all(_values(row) in wanted for row in rows)
    last = {place: rows for place, rows in model_of.content.items() if place in model_of.fired}
    for place, content in last.items():
        assert _values(emitted[place][-1]) == results(content)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1, 1), (10, 10), (10, 5), (6, 4), (7, 1)]), RUNS)
def test_count_windows(seed: int, sizes: tuple[int, int], shape: Run) -> None:
    """Every window of so many events of a key, in order of arrival, and no other."""
    size, slide = sizes
    events = make_events(seed)
    driver = run(f"window: {{type: count, size: {size}, slide: {slide}}}", events, shape)
    wanted = model.counted(events, size, slide)
    check_once(driver, wanted, "number")
    for place, rows in _by_place(driver, "number").items():
        times = [event["t"] for event in wanted.fired[place][0]]
        assert [(row["start"], row["end"]) for row in rows] == [(min(times), max(times) + 1)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), RUNS)
def test_running_aggregates(seed: int, shape: Run) -> None:
    """A global window is the aggregate of everything so far; its last update is the aggregate of everything."""
    events = make_events(seed)
    driver = run("window: {type: global}", events, shape)
    wanted = {key: results([e for e in events if e["k"] == key]) for key in {e["k"] for e in events}}
    assert driver.table("w") == wanted
    assert {place[0]: _values(rows[-1]) for place, rows in _by_place(driver).items()} == wanted
    assert not any(row["final"] for row in driver.output("out"))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["type: tumbling, size: 20ms", "type: sliding, size: 20ms, slide: 5ms", "type: session, gap: 8ms"]),
    RUNS,
)
def test_updates_end_with_the_final_row(seed: int, kind: str, shape: Run) -> None:
    """Updates tell of every change; behind a final row comes none."""
    events = make_events(seed)
    driver = run(f"window: {{{kind}}}, late: late, emit: update", events, shape)
    once = run(f"window: {{{kind}}}, late: late", events, shape)
    finals = {(r["k"], r["start"], r["end"]): _values(r) for r in driver.output("out") if r["final"]}
    assert finals == {(r["k"], r["start"], r["end"]): _values(r) for r in once.output("out")}
    for rows in _by_place(driver, "start", "end").values():
        assert not any(row["final"] for row in rows[:-1])
    if "session" not in kind:
        shown = {place: _values(rows[-1]) for place, rows in _by_place(driver, "start").items()}
        assert shown == driver.table("w")


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
@pytest.mark.parametrize(
    "kind", ["type: tumbling, size: 100ms", "type: sliding, size: 100ms, slide: 50ms", "type: session, gap: 60ms"]
)
def test_early_results_come_at_multiples_of_event_time(kind: str, chunk_size: int) -> None:
    """Every 20 ms of watermark the open windows are told as they are then, whatever the chunks."""
    events = [{"t": time, "k": "a", "v": 1, "id": 0} for time in range(0, 200, 3)]
    driver = run(f"window: {{{kind}}}, early: 20ms", events, Run(1, chunk_size, True, 1, ()))
    early = [(row["start"], row["n"]) for row in driver.output("out") if not row["final"]]
    # The watermark passes 0 at the event of 12 (n = 4 before it), 20 at 30, 40 at 51, …
    counts = [4, 10, 17, 24, 30, 37, 44, 50, 57, 64] if "session" in kind else None
    if counts:
        assert early == [(0, count) for count in counts]
    else:
        first = [count for start, count in early if start == 0]
        assert first == [4, 10, 17, 24, 30]
