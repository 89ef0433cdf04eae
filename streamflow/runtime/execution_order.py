"""Which inputs a worker fetches now, when there is a backlog: those with the longest way before them.

Others are held back for 0.8 s of each second at most, so that nothing starves and no source seems idle.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

#: Topic and partition.
Place = TypeVar("Place", bound=tuple[str, int])
#: Records between position and end that are a backlog.
BACKLOG = 10_000
_PERIOD_S, _HELD_S = 1.0, 0.8


class ExecutionOrder:
    """lengths: of the way behind each input topic."""

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self._lengths = lengths

    def first(self, active: set[Place], behind: Callable[[Place], int], now_s: float) -> set[Place]:
        """Those of `active` that are fetched now. behind: how many records a partition has before it."""
        if now_s % _PERIOD_S >= _HELD_S:
            return active
        longest = max((self._lengths[place[0]] for place in active if behind(place) > BACKLOG), default=0)
        return {place for place in active if self._lengths[place[0]] >= longest}
