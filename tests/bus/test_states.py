"""The state machine, every pair of states; the allowed moves are written here a second time, by hand."""

import itertools
from itertools import product

import pytest

from streamflow.bus.states import MOVES, State, moved, way
from streamflow.errors import IllegalMove

_ALLOWED = {
    "pending": "queued cancelled",
    "queued": "running failed cancelled",
    "running": "paused completed failed cancelled",
    "paused": "running failed cancelled",
    "completed": "",
    "failed": "",
    "cancelled": "",
}


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_a_move_is_made_or_refused_by_name(before: State, after: State) -> None:
    if after.value in _ALLOWED[before].split():
        assert moved("topology t", before, after) is after
        return
    with pytest.raises(IllegalMove) as caught:
        moved("topology t", before, after)
    text = str(caught.value)
    assert text.startswith(f"topology t is {before} and cannot become {after}: ")
    assert all(follow in text for follow in _ALLOWED[before].split())


def test_every_state_is_reached_and_what_is_final_stays() -> None:
    reached, edge = {State.PENDING}, {State.PENDING}
    while edge:
        edge = {after for before in edge for after in MOVES[before]} - reached
        reached |= edge
    assert reached == set(State)
    assert {state for state in State if state.is_final} == {State.COMPLETED, State.FAILED, State.CANCELLED}
    with pytest.raises(TypeError):
        MOVES[State.FAILED] = frozenset(State)  # type: ignore[index]


@pytest.mark.parametrize(("before", "after"), list(product((None, *State), State)))
def test_a_way_is_made_of_moves_and_as_short_as_can_be(before: State | None, after: State) -> None:
    is_new = before is None or before.is_final
    short = {("pending", "paused"): 3, ("pending", "running"): 2, ("pending", "completed"): 3}
    try:
        found = way("node n", before, after)
    except IllegalMove:
        assert before is not None
        assert after.value not in _reachable(before.value)
        return
    assert found[-1] is after
    start = found[0] if is_new else before
    assert not is_new or start is State.PENDING
    for one, other in itertools.pairwise(found if is_new else (before, *found)):
        assert other is not None
        assert one is not None
        assert moved("node n", one, other) is other
    if before is State.PENDING and (before.value, after.value) in short:
        assert len(found) == short[before.value, after.value]


def _reachable(start: str) -> set[str]:
    found: set[str] = set()
    edge = {start}
    while edge:
        edge = {after for each in edge for after in _ALLOWED[each].split()} - found
        found |= edge
    return found
