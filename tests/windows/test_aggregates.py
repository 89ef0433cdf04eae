"""Every aggregate in every window equals the model, whatever the chunks, crashes and partitions."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology
from streamflow.windows.aggregates import BUILT_IN, distinct, heavy_hitters, quantiles
from tests.windows import model
from tests.windows.aggregate_model import MODELS, Event
from tests.windows.model import Expected
from tests.windows.test_shapes import DELAY, RUNS, Run, expected

HOUR = 3_600_000
_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: int?, f: float?, s: str, b: bool, j: json, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: {delay}ms, future: {{limit: 1d}}, key: k}}
  w: {{kind: window, input: s, {window}aggregate: {{{aggregates}}}}}
  o: {{kind: sink, input: w, topic: out}}
"""
_TREES = [None, 1, "x", [1, 2], [2, 1], {"a": 1, "b": [None]}, {"a": 2}, True]


def make_events(seed: int, scale: int = 1, count: int = 120) -> list[Event]:
    """Disorder within and beyond the delay, equal times, nulls, lists; times are multiples of `scale`."""
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(count):
        time += chance.choice([0, 0, 1, 2, 3, chance.choice([0, 0, 40])])
        behind = chance.choice([0, 0, chance.randrange(12), chance.randrange(60)])
        value = chance.choice([None, chance.randrange(-20, 20)])
        events.append(
            {
                "t": (time - behind) * scale, "k": chance.choice("abc"), "id": number, "v": value,
                "f": None if value is None else value * 1.5 + 1e6, "s": f"s{chance.randrange(12)}",
                "j": chance.choice(_TREES), "b": chance.random() < 0.5,
            }
        )  # fmt: skip
    return events


def run(window: str, aggregates: list[str], events: list[Event], shape: Run, scale: int = 1) -> Driver:
    """Run a topology of one window, results called a0, a1, … over the events."""
    named = ", ".join(f'a{number}: "{text}"' for number, text in enumerate(aggregates))
    text = _TOPOLOGY.format(delay=DELAY * scale, window=window, aggregates=named)
    driver = Driver(
        make_plan(parse_topology(text)), partitions=shape.partitions, chunk_size=shape.chunk_size,
        fused=shape.fused, checkpoint_every=shape.every,
    )  # fmt: skip
    driver.now_ms = 10_000 * scale
    driver.crash_at = dict(shape.crashes)
    for start in range(0, len(events), 40):
        driver.publish("in", events[start : start + 40])
        driver.run()
    assert not driver.dead_letters()
    return driver


def check(rows: dict[Any, dict[str, Any]], wanted: dict[Any, list[Event]], aggregates: list[str], sketch: bool) -> None:
    """Results of windows are the model's. A sketch of so few values may miss a distinct one or two."""
    assert rows.keys() == wanted.keys()
    for place, events in wanted.items():
        for number, text in enumerate(aggregates):
            found, right = rows[place][f"a{number}"], MODELS[text](events)
            if isinstance(right, float):
                assert found == pytest.approx(right, rel=1e-9, abs=1e-6), (text, place)
            elif sketch and text.startswith("distinct_count"):
                assert abs(found - right) <= 2, (text, place)
            else:
                assert (found, type(found)) == (right, type(right)), (text, place)


@contextmanager
def bounds(limit: int | None) -> Iterator[None]:
    """Sketches from `limit` values on."""
    modules: tuple[Any, ...] = (distinct, quantiles, heavy_hitters)
    before = [each.EXACT_MAX for each in modules]
    for each, usual in zip(modules, before, strict=True):
        each.EXACT_MAX = usual if limit is None else limit
    try:
        yield
    finally:
        for each, usual in zip(modules, before, strict=True):
            each.EXACT_MAX = usual


Find = Callable[[list[Event], int], Expected]


def _aligned(size: int, slide: int, scale: int = 1) -> Find:
    """Time windows of sizes in units of `scale`; the lateness is in that unit too."""
    sizes = size * scale, slide * scale
    return lambda part, late: model.aligned(part, *sizes, 0, DELAY * scale, late * scale, late * scale)


#: By window: the names of its place in a result, its model (events, lateness), its unit of time in ms.
WINDOWS: dict[str, tuple[tuple[str, ...], Find, int]] = {
    "type: tumbling, size: 30ms": (("start",), _aligned(30, 30), 1),
    "type: sliding, size: 30ms, slide: 10ms": (("start",), _aligned(30, 10), 1),
    "type: session, gap: 6ms": (("start", "end"), lambda part, late: model.sessions(part, 6, DELAY, late, late), 1),
    "type: calendar, unit: day": (("start",), _aligned(24, 24, HOUR), HOUR),
    "type: count, size: 9, slide: 3": (("number",), lambda part, _late: model.counted(part, 9, 3), 1),
}
CHOSEN = st.lists(st.sampled_from(sorted(MODELS)), min_size=1, max_size=12, unique=True)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(sorted(WINDOWS)), CHOSEN, RUNS, st.sampled_from([0, 25]),
    st.sampled_from([None, 4]),
)  # fmt: skip
def test_windows_that_fire(
    seed: int, window: str, aggregates: list[str], shape: Run, lateness: int, limit: int | None
) -> None:
    """Each result once and right, in the output and in the table, exact and with sketches, late rows included."""
    names, find, scale = WINDOWS[window]
    events = make_events(seed, scale)
    more = "" if "count" in window else f"emit: final, allowed_lateness: {lateness * scale}ms, retention: 365d, "
    with bounds(limit):
        driver = run(f"window: {{{window}}}, {more}", aggregates, events, shape, scale)
        emitted = driver.output("out")
        table = {} if "count" in window else driver.table("w")
    wanted = expected(events, shape, lambda part: find(part, lateness))
    rows = {tuple(row[name] for name in ("k", *names)): row for row in emitted}
    assert len(rows) == len(emitted)
    check(rows, {place: fired[0] for place, fired in wanted.fired.items()}, aggregates, limit is not None)
    check(table, {place[:2]: rows for place, rows in wanted.content.items()}, aggregates, limit is not None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), CHOSEN, RUNS, st.sampled_from([None, 4]))
def test_running_aggregates(seed: int, aggregates: list[str], shape: Run, limit: int | None) -> None:
    """A global window is the aggregate of everything so far."""
    events = make_events(seed)
    with bounds(limit):
        driver = run("window: {type: global}, ", aggregates, events, shape)
        table = driver.table("w")
    wanted = {key: [event for event in events if event["k"] == key] for key in {event["k"] for event in events}}
    check(table, wanted, aggregates, limit is not None)
    last = {row["k"]: row for row in driver.output("out")}
    check(last, wanted, aggregates, limit is not None)


def test_every_built_in_aggregate_has_a_model() -> None:
    """A new aggregate comes with one."""
    covered = {text.partition("(")[0] for text in MODELS}
    assert set(BUILT_IN) - covered == {"average", "min", "max"}  # tests/windows/model.py has these


def test_every_built_in_aggregate_is_in_its_page(root: Path) -> None:
    """With its signature."""
    page = (root / "docs" / "aggregates.md").read_text()
    missing = [kind.signature for kind in BUILT_IN.values() if f"`{kind.signature.replace('[x]', 'x')}`" not in page]
    assert not missing
