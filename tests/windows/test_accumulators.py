"""Accumulators: merges in any grouping, bytes there and back, nothing shared, the layout pinned."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine.fold_table import live_max
from streamflow.errors import UserError
from streamflow.model.schema import FieldType
from streamflow.windows import layout as layout_module
from streamflow.windows.aggregates import BUILT_IN, collected, find
from streamflow.windows.layout import AccumulatorLayout, Slot
from tests.windows.test_aggregates import bounds

Value = tuple[int, Any]
_VALUES: dict[FieldType, Any] = {
    FieldType.INT: st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    FieldType.FLOAT: st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, 1.5]),
    FieldType.TIMESTAMP: st.integers(-(2**61), 2**61) | st.integers(0, 3),
    FieldType.STR: st.text(max_size=80) | st.sampled_from(["a", "b", "é" * 70, "é" * 71]),
    FieldType.BOOL: st.booleans(),
    FieldType.JSON: st.recursive(st.integers(-5, 5) | st.text(max_size=3) | st.booleans(), st.lists, max_leaves=4),
}
_PARAMETERS = {"collect": (4,), "percentile": (75.5,), "top_k": (3,)}
_CASES = sorted(
    (name, kind)
    for name in [*BUILT_IN, "spread"]
    for kind in FieldType
    if kind in (frozenset({FieldType.INT, FieldType.FLOAT}) if name == "spread" else BUILT_IN[name].argument_types)
)


def layout_of(name: str, argument: FieldType, parameters: tuple[float, ...] | None = None) -> AccumulatorLayout:
    """Layout of one aggregate over a field."""
    kind = find(name)
    assert kind is not None
    given = _PARAMETERS.get(name, ()) if parameters is None else parameters
    return AccumulatorLayout([Slot("r", kind.make(argument, given), "x")])


def adder(layout: AccumulatorLayout) -> Any:
    """Function (accumulator, value, time) as the engine would write it."""
    lift = layout.slots[0].aggregate.lift
    lines = [f"v = {lift.format(v='v')}"] if lift else []
    source = "".join(f"    {line}\n" for line in lines + layout.add_source(0, "a", "v", "t"))
    names = dict(layout.names)
    exec(f"def add(a, v, t):\n{source}", names)
    return names["add"]


def filled(layout: AccumulatorLayout, values: Sequence[Value]) -> Any:
    """An accumulator of these."""
    add, accumulator = adder(layout), layout.new()
    for time, value in values:
        add(accumulator, value, time)
    return accumulator


def close(left: Any, right: Any) -> bool:
    """Equal, or floats that differ by rounding."""
    if isinstance(left, float) or isinstance(right, float):
        return bool(left == pytest.approx(right, rel=1e-6, abs=1e-3))
    return bool(left == right)


@pytest.mark.parametrize(("name", "argument"), _CASES)
@pytest.mark.parametrize("limit", [None, 3])
def test_any_grouping_gives_the_same(name: str, argument: FieldType, limit: int | None) -> None:
    """(a b) c = a (b c) = all in one, also through bytes; a second accumulator stays as it is and shares nothing."""
    layout = layout_of(name, argument)
    values = st.lists(st.tuples(st.integers(0, 5), _VALUES[argument]), max_size=14)

    @settings(max_examples=25, deadline=None)
    @given(values, values, values)
    def check(first: list[Value], second: list[Value], third: list[Value]) -> None:
        with bounds(limit):
            parts = [filled(layout, each) for each in (first, second, third)]
            raws = [layout.bytes_of(each) for each in parts]
            a, b, c = parts
            left = layout.merged([layout.merged([a, b]), c])
            right = layout.merged([a, layout.merged([b, c])])
            restored = layout.merged(map(layout.decode, raws))
            whole = layout.results(filled(layout, [*first, *second, *third]))[0]
            assert all(close(layout.results(each)[0], whole) for each in (left, right, restored))
            before = layout.results(right)[0]
            for time, value in third:
                adder(layout)(left, value, time)
                adder(layout)(b, value, time)
            assert layout.results(right)[0] == before
            assert all(
                close(layout.results(each)[0], layout.results(layout.decode(raw))[0])
                for each, raw in ((a, raws[0]), (c, raws[2]))
            )

    check()


@pytest.mark.parametrize(("name", "argument"), _CASES)
def test_bytes_come_back(name: str, argument: FieldType) -> None:
    """One row, several rows, and rows of their rows, exact and sketched."""
    layout = layout_of(name, argument)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), _VALUES[argument]), max_size=20), st.sampled_from([None, 2]))
    def check(values: list[Value], limit: int | None) -> None:
        with bounds(limit):
            one = filled(layout, values)
            result = layout.results(one)[0]
            raw = layout.bytes_of(one)
            assert close(layout.results(layout.decode(raw))[0], result)
            both = layout.decode_all(layout.bytes_of_all([one, one]))
            assert all(close(layout.results(each)[0], result) for each in both)
            assert close(layout.as_dict(raw)["r"], result)

    check()


def test_aggregates_of_one_state_share_it() -> None:
    """Percentiles of one field are one array, of another field another."""
    kinds = [("percentile", (50,), "x"), ("percentile", (99,), "x"), ("median", (), "y"), ("stddev", (), "x")]
    slots = [
        Slot(f"r{i}", BUILT_IN[n].make(FieldType.INT, p), x)
        for i, (n, p, x) in enumerate([*kinds, ("variance", (), "x")])
    ]
    layout = AccumulatorLayout(slots)
    assert layout.type.__struct_fields__ == ("c0", "c1", "c2", "c3", "c4")
    assert [bool(layout.add_source(i, "a", "v", "t")) for i in range(5)] == [True, False, True, True, False]
    one = layout.new()
    for value in range(101):
        one.c0.add(value)
    assert layout.results(layout.merged([one, one]))[:2] == (50, 99)


#: Bytes that tables on disk have; a change of one of these needs a new version in the aggregate's `state`.
_GOLDEN = {
    ("count", FieldType.INT): ("count/1", "9103"),
    ("sum", FieldType.INT): ("sum/1", "9106"),
    ("average", FieldType.INT): ("average/1", "920603"),
    ("min", FieldType.INT): ("min/1", "9101"),
    ("max", FieldType.INT): ("max/1", "9103"),
    ("variance", FieldType.INT): ("moments/1", "9303cb4000000000000000cb4000000000000000"),
    ("first", FieldType.INT): ("first/1 int", "920107"),
    ("last", FieldType.STR): ("last/1 str", "92a13309"),
    ("collect", FieldType.INT): ("collect/1 int 4", "91949307080993010203" "00cf4000000000000000"),
    ("distinct_count", FieldType.INT): ("distinct/1 int", "9193010203"),
    ("percentile", FieldType.INT): (
        "quantiles/1 int", "9192c418" "0100000000000000" "0200000000000000" "0300000000000000" "c0",
    ),
    ("top_k", FieldType.INT): ("top/1 int", "9193920101920201920301"),
    ("spread", FieldType.INT): ("own spread/1 int", "91c403920103"),
}  # fmt: skip


@pytest.mark.parametrize(("case", "pinned"), _GOLDEN.items(), ids=lambda each: str(each[0]))
def test_the_layout_is_pinned(case: tuple[str, FieldType], pinned: tuple[str, str]) -> None:
    """State of three values, 1, 2 and 3 at the times 7, 8 and 9."""
    name, argument = case
    layout = layout_of(name, argument)
    values = [(time, str(time - 6) if argument is FieldType.STR else time - 6) for time in (7, 8, 9)]
    one = filled(layout, values)
    assert (layout.slots[0].aggregate.state, layout.encode(one).hex()) == pinned
    assert layout.results(layout.decode(bytes.fromhex(pinned[1]))) == layout.results(one)


def test_every_built_in_aggregate_is_pinned() -> None:
    """By its state."""
    states = {
        kind.make(FieldType.INT, _PARAMETERS.get(name, ())).state.split(" ")[0] for name, kind in BUILT_IN.items()
    }
    assert states == {state.split(" ")[0] for state, _ in _GOLDEN.values()} - {"own"}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.text("ab", max_size=6)), max_size=25),
    st.integers(0, 25), st.integers(1, 8), st.integers(6, 30),
)  # fmt: skip
def test_collect_keeps_the_longest_beginning_that_fits(values: list[Value], at: int, limit: int, chars: int) -> None:
    """Whatever the order of arrival and the place where it is split in two."""
    usual, collected.CHARS_MAX = collected.CHARS_MAX, chars
    try:
        whole, first, second = collected.Collected(), collected.Collected(), collected.Collected()
        for place, (time, value) in enumerate(values):
            whole.add(value, time, limit)
            (first if place < at else second).add(value, time, limit)
        first.merge(second, limit)
    finally:
        collected.CHARS_MAX = usual
    kept: list[str] = []
    for _, value in sorted(values, key=lambda each: each[0]):
        if len(kept) == limit or sum(map(len, kept)) + len(value) > chars:
            break
        kept.append(value)
    right = {"values": kept, "left_out": len(values) - len(kept)}
    assert whole.result() == first.result() == right


def test_variance_does_not_lose_digits() -> None:
    """A spread of 1 beside a mean of 1e12, in one part and in a thousand."""
    layout = layout_of("variance_population", FieldType.FLOAT)
    values = [(0, 1e12 + offset) for offset in (-1.0, 1.0)] * 5_000
    parts = [filled(layout, values[start : start + 10]) for start in range(0, len(values), 10)]
    for accumulator in (filled(layout, values), layout.merged(parts)):
        assert layout.results(accumulator)[0] == pytest.approx(1.0, rel=1e-9)
    huge = [(0, value) for value in (1.7e308, -1.7e308, 1.7e308)]
    assert layout.results(filled(layout, huge)) == (None,)


def test_shuffled_arrival_changes_only_ties() -> None:
    """first, last and collect go by event time."""
    values = [(time, time) for time in range(50)]
    mixed = random.Random(1).sample(values, len(values))
    for name, right in (("first", 0), ("last", 49), ("collect", {"values": [0, 1, 2, 3], "left_out": 46})):
        layout = layout_of(name, FieldType.INT)
        assert layout.results(filled(layout, mixed)) == (right,)


def test_a_row_that_no_changelog_takes_is_refused() -> None:
    """Alone, or as one of many panes of a key."""
    layout = layout_of("last", FieldType.STR)
    accumulator = filled(layout, [(0, "😀" * 60_000)])
    assert len(layout.bytes_of_all([accumulator] * 17)) < layout_module.ROW_MAX_BYTES
    with pytest.raises(UserError, match=r"a row of r takes \d+ bytes \(18 accumulators\), 4128768 are possible"):
        layout.bytes_of_all([accumulator] * 18)


def test_memory_is_bounded_by_what_accumulators_weigh() -> None:
    """A million of numbers; of texts as many as fit, judged by the rows written lately."""
    assert live_max(layout_of("stddev", FieldType.INT)) == 1_000_000
    layout = layout_of("last", FieldType.STR)
    before = live_max(layout)
    accumulator = filled(layout, [(0, "x" * 50_000)])
    for _ in range(2_000):
        layout.bytes_of(accumulator)
    assert live_max(layout) == pytest.approx((256 << 20) / 150_000, rel=0.02)
    assert before > 400_000
