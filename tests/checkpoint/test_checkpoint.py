"""Progress in offset metadata, and pacing."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.checkpoint.pacing import TURN_MS, Pacing, Rolling, Turns
from streamflow.checkpoint.progress import NO_TIME, EntryProgress, ProducerMark, Progress
from streamflow.errors import StateMismatch

_TIMES = st.one_of(st.just(NO_TIME), st.integers(-(2**60), 2**60))
_LEVELS = st.sampled_from([0, 1, 1 << 32])
_ENTRIES = st.one_of(
    st.builds(EntryProgress, high_ms=_TIMES, data_ms=_TIMES, level=_LEVELS),
    st.builds(
        lambda marks, data_ms, level: EntryProgress(marks=tuple(marks), data_ms=data_ms, level=level),
        st.lists(st.builds(ProducerMark, _TIMES, st.booleans()), min_size=1, max_size=5),
        _TIMES,
        _LEVELS,
    ),
)


_VERSION = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})?", fullmatch=True)
_NODE = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
_VERSIONS = st.lists(st.tuples(_NODE, _VERSION), max_size=3) | st.lists(st.tuples(st.just(""), _VERSION), max_size=3)


@given(
    _TIMES,
    st.lists(_ENTRIES, max_size=4),
    st.lists(st.integers(0, 2**60), max_size=4),
    _VERSIONS,
    st.sampled_from(("", "1a2b")),
)
def test_progress_comes_back(
    watermark: int, entries: list[EntryProgress], counts: list[int], versions: list[tuple[str, str]], life: str
) -> None:
    progress = Progress(watermark, tuple(entries), tuple(counts), tuple(versions), life=life)
    assert Progress.decode(progress.encode()) == progress


def test_many_producers_fit_and_too_many_are_refused() -> None:
    now = 1_700_000_000_000
    marks = tuple(ProducerMark(now + 3_600_000 * (i % 7)) for i in range(400))
    assert Progress(now, (EntryProgress(marks=marks),)).encode().startswith("1;")
    packed = Progress(now, (EntryProgress(marks=marks * 3),), counts=tuple(range(1_000)))
    assert len(packed.encode()) <= 4_096
    assert Progress.decode(packed.encode()) == packed
    chance = Random(1)
    different = tuple(ProducerMark(chance.randrange(1 << 50)) for _ in range(1_200))
    with pytest.raises(StateMismatch, match="4096"):
        Progress(now, (EntryProgress(marks=different),)).encode()


def test_other_versions_are_refused() -> None:
    assert Progress.decode("") == Progress()
    with pytest.raises(StateMismatch, match="version '9'"):
        Progress.decode("9;5")


@pytest.mark.parametrize(
    ("since_ms", "records", "outputs", "wait_ms"),
    [(0, 10, 0, 20), (20, 10, 0, 0), (50, 5_000, 0, 50), (100, 5_000, 0, 0), (1, 5_000, 100, 0)],
)
def test_commits_wait_for_the_interval_only_under_load(
    since_ms: float, records: int, outputs: int, wait_ms: float
) -> None:
    assert Pacing(100, 100, 1_000).wait_ms(since_ms, 20.0, records, outputs, 0) == wait_ms
    assert Rolling(100, 100, 1_000).wait_ms(since_ms, 20.0, 10, outputs, 0) == (0 if outputs else 100 - since_ms)


def test_tasks_that_commit_take_turns() -> None:
    turns = Turns()
    assert turns.gap_ms(0.0) == TURN_MS
    for number in range(4):
        turns.take(number, 10.0 * number)
    assert turns.gap_ms(100.0) == 4 * TURN_MS
    turns.leave(3)
    assert turns.gap_ms(1_015.0) == TURN_MS  # only number 2 has committed within the last second
