"""variance, stddev: of a sample (n - 1) and of a population (n), in one pass and mergeable.

cells        n, mean, m2 = sum of (v - mean)²
add          Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4 (1962)
merge        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979)

Sums of squares would lose every digit where the mean is large beside the spread; these do not. Overflow of a float
gives null.
"""

from streamflow.model.schema import FieldType
from streamflow.windows.aggregates.aggregate import NUMBERS, Aggregate, AggregateKind, Cell

_ADD = (
    "{a}.{0} += 1",
    "x = {v} - {a}.{1}",
    "{a}.{1} += x / {a}.{0}",
    "{a}.{2} += x * ({v} - {a}.{1})",
)
_MERGE = (
    "if {b}.{0}:",
    "    n, x = {a}.{0} + {b}.{0}, {b}.{1} - {a}.{1}",
    "    {a}.{2} += {b}.{2} + x * x * {a}.{0} * ({b}.{0} / n)",
    "    {a}.{1} += x * ({b}.{0} / n)",
    "    {a}.{0} = n",
)


def finite(number: float) -> float | None:
    """The number; None when it is infinite or no number (x - x is 0 for every other)."""
    return number if number - number == 0.0 else None


def _aggregate(name: str, value: str) -> Aggregate:
    return Aggregate(
        name,
        "moments/1",
        (Cell(int, 0), Cell(float, 0.0), Cell(float, 0.0)),
        _ADD,
        _MERGE,
        value,
        FieldType.FLOAT,
        "few",
        names={"finite": finite},
    )


def _kind(name: str, description: str, value: str) -> AggregateKind:
    aggregate = _aggregate(name, value)
    return AggregateKind(name, description, "required", NUMBERS, lambda _type, _given: aggregate)


KINDS = (
    _kind(
        "variance",
        "variance of a sample (divided by n - 1), null with fewer than two values",
        "(finite({a}.{2} / ({a}.{0} - 1)) if {a}.{0} > 1 else None)",
    ),
    _kind(
        "variance_population",
        "variance of a population (divided by n), null without any value",
        "(finite({a}.{2} / {a}.{0}) if {a}.{0} else None)",
    ),
    _kind(
        "stddev",
        "standard deviation of a sample, null with fewer than two values",
        "(finite(({a}.{2} / ({a}.{0} - 1)) ** 0.5) if {a}.{0} > 1 else None)",
    ),
    _kind(
        "stddev_population",
        "standard deviation of a population, null without any value",
        "(finite(({a}.{2} / {a}.{0}) ** 0.5) if {a}.{0} else None)",
    ),
)
