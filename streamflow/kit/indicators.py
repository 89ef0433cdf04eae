"""Metrics that nodes declare for themselves, shown by the worker beside its own.

    refunded = Counter("refunded_amount", "money that went back", labels=["country"])

    def refund(row: Sale) -> Refund:
        refunded.add(row.amount, row.country)

The worker shows it as `streamflow_user_refunded_amount_total{topology, country}`. Plain numbers of this process, no
state: they begin at 0 with it, and count again what is worked again after a crash.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

#: Values of the labels of one indicator that are told apart; those beyond are summed as `other`.
SERIES_MAX = 200
INDICATORS_MAX = 100
_LABELS_MAX, _VALUE_MAX = 5, 100
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_OURS = frozenset({"topology", "le", "quantile"})

_declared: dict[str, "Indicator"] = {}


class Indicator:
    """A number per combination of the labels' values. Declare it at the top of a module; the same twice is one.

    Raises ValueError when the declaration cannot be: a name, too many, another of this name.
    """

    kind: ClassVar[str]
    name: str
    help: str
    labels: tuple[str, ...]
    numbers: dict[tuple[str, ...], float]

    def __new__(cls, name: str, help: str, labels: Sequence[str] = ()) -> Self:  # noqa: A002 - Prometheus's word
        """The one of this name."""
        for each in (name, *labels):
            if not _NAME.fullmatch(each) or each in _OURS:
                raise ValueError(f"{cls.kind} {name!r}: {each!r} cannot be a name: write [a-z][a-z0-9_]*, not {_OURS}")
        if len(labels) > _LABELS_MAX:
            raise ValueError(f"{cls.kind} {name!r} has {len(labels)} labels: {_LABELS_MAX} at most")
        known = _declared.get(name)
        if known is not None:
            if (type(known), known.labels) == (cls, tuple(labels)):
                return known  # type: ignore[return-value]
            raise ValueError(f"there is another indicator {name!r}, with labels {known.labels}: give this another name")
        if len(_declared) >= INDICATORS_MAX:
            raise ValueError(f"{cls.kind} {name!r}: {INDICATORS_MAX} indicators at most; use labels")
        made = super().__new__(cls)
        made.name, made.help, made.labels, made.numbers = name, help, tuple(labels), {} if labels else {(): 0}
        _declared[name] = made
        return made

    def _place(self, values: tuple[object, ...]) -> tuple[str, ...]:
        if len(values) != len(self.labels):
            raise ValueError(f"indicator {self.name!r} has the labels {self.labels}, not {len(values)} of them")
        place = tuple(str(value)[:_VALUE_MAX] for value in values)
        return place if place in self.numbers or len(self.numbers) < SERIES_MAX else ("other",) * len(values)


class Counter(Indicator):
    """Only grows."""

    kind = "counter"

    def add(self, number: float = 1, *values: object) -> None:
        """Add a number of 0 or more. values: of the labels, in their order. Raises ValueError."""
        if not number >= 0:
            raise ValueError(f"counter {self.name!r} cannot fall by {number}: use a Gauge")
        place = values if values in self.numbers else self._place(values)
        self.numbers[place] = self.numbers.get(place, 0) + number  # type: ignore[index,arg-type]


class Gauge(Indicator):
    """The last value."""

    kind = "gauge"

    def set(self, number: float, *values: object) -> None:
        """Set it. values: of the labels, in their order. Raises ValueError."""
        self.numbers[self._place(values)] = number


def indicators() -> Iterator[tuple[str, str, str, tuple[str, ...], Mapping[tuple[str, ...], float]]]:
    """(kind, name, help, labels, number per labels' values) of all that were declared in this process."""
    for each in _declared.values():
        yield each.kind, each.name, each.help, each.labels, each.numbers
