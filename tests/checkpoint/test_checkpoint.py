"""Progress in offset metadata, and pacing."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.checkpoint.pacing import Pacing
from streamflow.checkpoint.progress import NO_TIME, EntryProgress, ProducerMark, Progress
from streamflow.errors import StateMismatch

_TIMES = st.one_of(st.just(NO_TIME), st.integers(-(2**60), 2**60))
_ENTRIES = st.one_of(
    st.builds(EntryProgress, high_ms=_TIMES, data_ms=_TIMES),
    st.builds(
        lambda marks, data_ms: EntryProgress(marks=tuple(marks), data_ms=data_ms),
        st.lists(st.builds(ProducerMark, _TIMES, st.booleans()), min_size=1, max_size=5),
        _TIMES,
    ),
)


_VERSION = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})?", fullmatch=True)
_NODE = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
_VERSIONS = st.lists(st.tuples(_NODE, _VERSION), max_size=3) | st.lists(st.tuples(st.just(""), _VERSION), max_size=3)


@given(_TIMES, st.lists(_ENTRIES, max_size=4), st.lists(st.integers(0, 2**60), max_size=4), _VERSIONS)
def test_progress_comes_back(
    watermark: int, entries: list[EntryProgress], counts: list[int], versions: list[tuple[str, str]]
) -> None:
    progress = Progress(watermark, tuple(entries), tuple(counts), tuple(versions))
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
    ("since_ms", "records", "outputs", "due"),
    [(0, 10, 0, False), (5, 10, 0, True), (50, 5_000, 0, False), (100, 5_000, 0, True), (1, 5_000, 100, True)],
)
def test_commits_wait_only_under_load(since_ms: float, records: int, outputs: int, due: bool) -> None:
    assert Pacing(100, 100, 1_000).is_due(since_ms, records, outputs, 0) is due
