"""The state machine, every pair of states; the allowed moves are written here a second time, by hand."""

from itertools import product

import pytest

from streamflow.bus.states import MOVES, State, moved
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
