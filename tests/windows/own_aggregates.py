"""Own aggregates as people write them."""

from typing import Any, ClassVar

from streamflow.windows.aggregates import OwnAggregate


class Spread(OwnAggregate):
    """Greatest value less the smallest."""

    name, result_type = "spread", "float?"
    arguments: ClassVar[tuple[str, ...]] = ("int", "float")
    description = "greatest value less the smallest one"

    def init(self) -> Any:
        """Nothing seen."""
        return []

    def add(self, state: Any, value: Any) -> Any:
        """One value more."""
        return [min([value, *state]), max([value, *state])]

    def merge(self, state: Any, other: Any) -> Any:
        """Both."""
        both = state + other
        return [min(both), max(both)] if both else []

    def result(self, state: Any) -> Any:
        """The difference."""
        return float(state[1] - state[0]) if state else None


class Words(OwnAggregate):
    """Counts of words; changes its state in place, refuses empty texts."""

    name, arguments, result_type = "words", ("str",), "json"
    bytes_max = 200

    def lift(self, value: Any) -> Any:
        """The words of a text."""
        if not value:
            raise ValueError("an empty text")
        return value.split()

    def init(self) -> Any:
        """No words."""
        return {}

    def add(self, state: Any, value: Any) -> Any:
        """The words of a text more."""
        for word in value:
            state[word] = state.get(word, 0) + 1
        return state

    def merge(self, state: Any, other: Any) -> Any:
        """Both; `other` itself when that is all."""
        if not state:
            return other
        for word, count in other.items():
            state[word] = state.get(word, 0) + count
        return state

    def result(self, state: Any) -> Any:
        """The counts."""
        return state
