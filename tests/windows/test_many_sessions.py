"""Sessions beyond what memory holds: bounds are tiny here, so that every way of a session from its key to its end is gone."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import key_runs, session_agenda
from streamflow.engine.key_runs import KeyRuns
from tests.windows import model
from tests.windows.model import Event
from tests.windows.test_shapes import DELAY, RUNS, Run, check_late, check_once, check_table, expected, run


def _events(seed: int) -> list[Event]:
    """Bursts of many keys, among them some that begin alike, between events of a few; disorder and silences."""
    chance, time, events = random.Random(seed), 1_000, []
    keys = ["a", "b", "a\0b", "é", *(f"k{number}" for number in range(20))]
    for number in range(140):
        time += chance.choice([0, 0, 0, 0, 1, 1, 2, 5, chance.choice([0, 0, 30, 120])])
        behind = chance.choice([0, 0, 0, chance.randrange(12), chance.randrange(150)])
        key = chance.choice(keys) if chance.random() < 0.8 else chance.choice("abc")
        events.append({"t": time - behind, "k": key, "v": chance.randrange(-50, 50), "id": number})
    return events


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([8, 64, 170]),
    RUNS,
    st.sampled_from([0, 40]),
    st.sampled_from([1, 2, 100]),
    st.sampled_from([1, 4]),
    st.sampled_from([-1, 60, 1 << 20]),
    st.sampled_from([0, 100]),
)
def test_sessions_that_are_not_in_memory(
    seed: int, gap: int, shape: Run, lateness: int, rising: int, run_keys: int, carried: int, stale: int
) -> None:
    events = _events(seed)
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(session_agenda, "RISING_KEYS", rising)
        bounds.setattr(session_agenda, "CARRIED_MAX_BYTES", carried)
        bounds.setattr(session_agenda, "_STALE_MAX_KEYS", stale)
        bounds.setattr(key_runs, "RUN_KEYS", run_keys)
        bounds.setattr(key_runs, "PAGE_KEYS", 2)
        window = f"window: {{type: session, gap: {gap}ms}}, late: late, allowed_lateness: {lateness}ms, emit: final"
        driver = run(window, events, shape)
    wanted = expected(events, shape, lambda part: model.sessions(part, gap, DELAY, lateness, lateness))
    check_once(driver, wanted, "start", "end")
    check_late(driver, wanted)
    check_table(driver, wanted)


@given(st.lists(st.text(max_size=3)), st.sampled_from([1, 3, 7]))
def test_runs_give_every_key_once_in_byte_order(keys: list[str], run_keys: int) -> None:
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(key_runs, "RUN_KEYS", run_keys)
        bounds.setattr(key_runs, "PAGE_KEYS", 2)
        runs, data = KeyRuns(), [key.encode() for key in keys]
        for each in data:
            runs.add(each)
        assert list(runs.ascending()) == sorted(set(data))
