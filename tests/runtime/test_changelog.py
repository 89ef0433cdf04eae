"""A changelog says which layout its rows have, and rows of another are never taken."""

import pytest

from streamflow.runtime.changelog import LAYOUT_KEY, Changelog, LayoutCheck, OtherLayout
from streamflow.state.keys import open_key, pane_prefix, session_key, window_key
from streamflow.state.store import Change

_LOG = Changelog("t.totals.changelog", 3, "aa")
_ROWS: list[Change] = [(b"a", b"1"), (b"b", None)]


def _pairs(changelog: Changelog) -> list[Change]:
    return [(key or b"", value) for key, value, _ in changelog.records(_ROWS)]


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    check = LayoutCheck(_LOG)
    assert check.rows(_pairs(_LOG), is_end=False) == _ROWS
    assert check.rows([(b"c", b"3")], is_end=True) == [(b"c", b"3")]
    assert _LOG.records([]) == []


def test_rows_of_another_layout_are_refused_wherever_the_mark_stands() -> None:
    other = _pairs(_LOG._replace(layout="bb"))
    for pairs in (other, other[::-1], _pairs(_LOG) + other):
        with pytest.raises(OtherLayout, match=r"t\.totals\.changelog/3 has rows of another layout .*new names"):
            LayoutCheck(_LOG).rows(pairs, is_end=False)


def test_rows_that_nobody_has_marked_are_refused_at_the_end_and_no_rows_are_fine() -> None:
    check = LayoutCheck(_LOG)
    assert check.rows(_ROWS, is_end=False) == _ROWS
    with pytest.raises(OtherLayout, match="does not say"):
        check.rows([], is_end=True)
    assert LayoutCheck(_LOG).rows([], is_end=True) == []


def test_compaction_may_leave_the_mark_behind_the_rows() -> None:
    check = LayoutCheck(_LOG)
    assert check.rows(_ROWS, is_end=False) == _ROWS
    assert check.rows([(LAYOUT_KEY, b"aa")], is_end=True) == []


@pytest.mark.parametrize("time_ms", [-(2**61), -1, 0, 2**61])
@pytest.mark.parametrize("key", ["", "\xff\xfflayout", "layout", "\U0010ffff"])
def test_no_row_has_the_key_of_the_mark(time_ms: int, key: str) -> None:
    data = key.encode()
    keys = (data, window_key(time_ms, data), open_key(data), session_key(time_ms, data, time_ms))
    assert LAYOUT_KEY not in keys
    assert pane_prefix(time_ms) + data != LAYOUT_KEY
