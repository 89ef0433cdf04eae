"""Beyond the exact bound: answers stay within the error that is stated, and memory within its bound."""

import random
from collections import Counter
from typing import Any

import pytest

from streamflow.errors import EventError
from streamflow.model.schema import FieldType
from streamflow.windows.aggregates import heavy_hitters, kept_values
from streamflow.windows.aggregates.collected import Collected
from streamflow.windows.aggregates.distinct import EXACT_MAX, Distinct
from streamflow.windows.aggregates.heavy_hitters import HeavyHitters
from streamflow.windows.aggregates.quantiles import EXACT_MAX as VALUES_EXACT_MAX
from streamflow.windows.aggregates.quantiles import IntegerQuantiles, Quantiles
from tests.windows.test_accumulators import filled, layout_of


@pytest.mark.parametrize("count", [EXACT_MAX - 1, EXACT_MAX])
def test_distinct_is_exact_up_to_its_bound(count: int) -> None:
    """Each value several times."""
    state = Distinct()
    for number in range(count * 3):
        state.add(f"user {number % count}")
    assert state.result() == count


@pytest.mark.parametrize("count", [EXACT_MAX + 1, 1_000, 20_000, 1_000_000])
def test_distinct_stays_within_its_error(count: int) -> None:
    """Within three standard errors; the hash is fixed, so this is the same each time."""
    state = Distinct()
    for number in range(count):
        state.add(number)
    assert abs(state.result() - count) <= 0.0497 * count
    assert len(state.state()) <= 4_200


def test_the_error_of_distinct_is_the_stated_one() -> None:
    """Root mean square over 300 sketches of 5,000 values each."""
    errors = []
    for trial in range(300):
        state = Distinct()
        for number in range(5_000):
            state.add(f"{trial}/{number}")
        errors.append(state.result() / 5_000 - 1)
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 < 0.0175
    assert sum(abs(error) > 0.0497 for error in errors) <= 3


def test_distinct_depends_on_the_values_alone() -> None:
    """Not on order, merges, restarts or repetitions, to the last digit."""
    values = [f"v{number}" for number in range(3_000)]
    answers = set()
    for seed in range(8):
        chance = random.Random(seed)
        mixed = chance.choices(values, k=500) + chance.sample(values, len(values))
        parts = [Distinct() for _ in range(1 + seed)]
        for place, value in enumerate(mixed):
            parts[place % len(parts)].add(value)
            if place % 997 == 0:
                parts[place % len(parts)] = Distinct.of(parts[place % len(parts)].state())
        for part in parts[1:]:
            parts[0].merge(part)
        answers.add(parts[0].result())
    assert len(answers) == 1


@pytest.mark.parametrize("state_type", [Quantiles, IntegerQuantiles])
def test_percentiles_are_exact_up_to_their_bound(state_type: type[Quantiles]) -> None:
    """And integers keep all 64 bits there."""
    state = state_type()
    values: list[float] = [2**62 + number * 7 for number in range(VALUES_EXACT_MAX)]
    if state_type is Quantiles:
        values = [number / 7 for number in range(VALUES_EXACT_MAX)]
    for value in random.Random(2).sample(values, len(values)):
        state.add(value)
    for p in (0, 1, 50, 99, 100):
        assert state.result(p, 1) == values[p * (len(values) - 1) // 100]


def test_percentiles_stay_within_their_error() -> None:
    """100 sketches, each merged of three and read back: nearly all within 0.68 % of the rank, none far beyond."""
    misses, worst, asked = 0, 0.0, 0
    for trial in range(100):
        chance = random.Random(trial)
        values = [chance.lognormvariate(0, 2) for _ in range(9_000)]
        parts = [Quantiles(), Quantiles(), Quantiles()]
        for place, value in enumerate(values):
            parts[place % 3].add(value)
        whole = Quantiles.of(parts[0].state())
        whole.merge(parts[1])
        whole.merge(Quantiles.of(parts[2].state()))
        ranked = sorted(values)
        ranks = {value: rank for rank, value in enumerate(ranked)}
        for p in (1, 25, 50, 90, 99):
            error = abs(ranks[whole.result(p, 1)] - p * (len(values) - 1) // 100) / len(values)
            misses, worst, asked = misses + (error > 0.0068), max(worst, error), asked + 1
        assert len(whole.state()[1]) <= 16_000
    assert misses <= 0.03 * asked
    assert worst <= 0.0136


def test_top_k_is_exact_up_to_its_bound() -> None:
    """Counts, order, and no error."""
    state = HeavyHitters()
    for number in range(heavy_hitters.EXACT_MAX):
        for _ in range(1 + number % 7):
            state.add(number)
    rows = state.result(3, int)
    assert rows == [{"value": value, "count": 7, "error": 0} for value in (6, 13, 20)]


@pytest.mark.parametrize("seed", range(5))
def test_top_k_stays_within_its_error(seed: int) -> None:
    """Each count is right within its own error, that error within the stated one, and no frequent value is missed."""
    chance = random.Random(seed)
    values = [int(chance.paretovariate(0.6)) % 50_000 for _ in range(60_000)]
    parts = [HeavyHitters(), HeavyHitters()]
    for place, value in enumerate(values):
        parts[place % 2].add(value)
    whole = HeavyHitters.of(parts[0].state())
    whole.merge(parts[1])
    counts, rows = Counter(values), whole.result(100, int)
    assert whole.sketch is not None
    bound = 3.5 / 1_024 * len(values)
    assert all(row["count"] - row["error"] <= counts[row["value"]] <= row["count"] for row in rows)
    assert all(row["error"] <= bound for row in rows)
    assert {value for value, count in counts.items() if count > bound} <= {row["value"] for row in rows}
    assert len(whole.state()) <= 16_000


def test_long_values_stay_apart_and_short() -> None:
    """Texts are bounded by their beginning and a hash."""
    layout = layout_of("top_k", FieldType.STR)
    long = ["x" * 100_000 + end for end in "aab"]
    (rows,) = layout.results(filled(layout, [(0, text) for text in long]))
    assert [row["count"] for row in rows] == [2, 1]
    assert [len(row["value"]) for row in rows] == [256, 256]
    layout = layout_of("top_k", FieldType.JSON)
    (rows,) = layout.results(filled(layout, [(0, [text]) for text in long] + [(0, {"b": 1, "a": 2})] * 3))
    assert rows[0] == {"value": {"a": 2, "b": 1}, "count": 3, "error": 0}
    assert isinstance(rows[1]["value"], str)
    layout = layout_of("distinct_count", FieldType.STR)
    accumulator = filled(layout, [(0, text) for text in long])
    assert layout.results(accumulator) == (2,)
    assert len(layout.encode(accumulator)) < 200


@pytest.mark.parametrize("name", ["first", "last", "collect"])
@pytest.mark.parametrize(("kind", "value"), [(FieldType.STR, "x"), (FieldType.JSON, ["x"])])
def test_values_that_are_too_large_are_refused(name: str, kind: FieldType, value: Any) -> None:
    """Before they can make a row that no topic takes."""
    layout = layout_of(name, kind)
    filled(layout, [(0, value * (kept_values.KEPT_MAX_CHARS // 5))])
    with pytest.raises(EventError, match="a window keeps 65536"):
        filled(layout, [(0, value * (kept_values.KEPT_MAX_CHARS + 1))])


def test_collect_takes_a_bounded_number_of_bytes() -> None:
    """Also of texts of four bytes a character."""
    state = Collected()
    for number in range(300):
        state.add("😀" * 1_000, number, 10_000)
    assert len(state.values) == 65
    assert state.result()["left_out"] == 235
