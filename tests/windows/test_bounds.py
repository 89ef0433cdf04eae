"""Bounds of open windows: per task and per key, put aside or stopped."""

import pytest

from streamflow.errors import TableTooLarge
from streamflow.testing.driver import CrashPoint, Driver
from tests.windows.model import Event
from tests.windows.test_shapes import Run, run

SHAPE = Run(1, 3, True, 1, ())


def _events(*places: tuple[str, int]) -> list[Event]:
    return [{"k": key, "t": 1_000 + time, "v": 1, "id": number} for number, (key, time) in enumerate(places)]


def _refused(driver: Driver) -> list[str]:
    return [letter["sf-error"] for letter in driver.dead_letters() if letter["sf-reason"] == "too_many_windows"]


SHAPES = ["type: tumbling, size: 10ms", "type: session, gap: 10ms", "type: sliding, size: 10ms, slide: 10ms"]


@pytest.mark.parametrize("window", [*SHAPES, "type: count, size: 9", "type: global"])
def test_a_task_opens_no_more_than_it_may(window: str) -> None:
    """The row that would open a third is put aside; rows of open ones go on."""
    events = _events(("a", 0), ("b", 1), ("c", 2), ("a", 3))
    driver = run(f"window: {{{window}}}, max_open: 2", events, SHAPE)
    assert len(_refused(driver)) == 1
    assert "max_open allows no more" in _refused(driver)[0]
    assert sorted(row["n"] for row in driver.table("w").values()) == [1, 2]


@pytest.mark.parametrize("window", [*SHAPES, "type: count, size: 9", "type: global"])
@pytest.mark.parametrize("crash", range(1, 7))
def test_windows_from_before_a_restart_count(window: str, crash: int) -> None:
    """Wherever the task crashes, the same rows are put aside; windows that close make room."""
    events = _events(("a", 0), ("b", 1), ("c", 2), ("a", 3), ("d", 4), ("e", 100), ("f", 101))
    shapes = [Run(1, 1, True, 1, ()), Run(1, 1, True, 1, ((crash, CrashPoint.BEFORE_STORE),))]
    whole, crashed = (run(f"window: {{{window}}}, max_open: 2", events, shape) for shape in shapes)
    assert _refused(crashed) == _refused(whole)
    assert sorted(map(str, crashed.output("out"))) == sorted(map(str, whole.output("out")))


@pytest.mark.parametrize("window", SHAPES)
def test_a_key_opens_no_more_than_it_may(window: str) -> None:
    """Late rows of one key open windows in the past; another key has its own bound."""
    events = _events(("a", 60), ("a", 80), ("a", 100), ("b", 100), ("b", 120))
    driver = run(f"window: {{{window}}}, allowed_lateness: 1s, max_open_per_key: 2", events, SHAPE)
    assert len(_refused(driver)) == 1
    assert "2" in _refused(driver)[0]


@pytest.mark.parametrize("window", SHAPES)
def test_closed_windows_make_room(window: str) -> None:
    """What has closed does not count."""
    events = _events(*(("a", 40 * number) for number in range(20)))
    driver = run(f"window: {{{window}}}, max_open: 2, max_open_per_key: 2", events, SHAPE)
    assert _refused(driver) == []


@pytest.mark.parametrize("window", SHAPES)
@pytest.mark.parametrize("bound", ["max_open: 2", "max_open_per_key: 2"])
def test_the_worker_may_be_stopped_instead(window: str, bound: str) -> None:
    """With the table's name and the remedy."""
    events = _events(("a", 60), ("a", 80), ("a", 100))
    with pytest.raises(TableTooLarge, match=r"table w: .* raise the bound"):
        run(f"window: {{{window}}}, allowed_lateness: 1s, {bound}, when_full: stop", events, SHAPE)


def test_evicted_windows_of_a_key_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what only the store has."""
    monkeypatch.setattr("streamflow.engine.pane_table.live_max", lambda _layout: 0)
    events = _events(("a", 60), ("b", 80), ("a", 100), ("b", 120), ("a", 140), ("b", 160))
    driver = run("window: {type: tumbling, size: 10ms}, allowed_lateness: 1s, max_open_per_key: 2", events, SHAPE)
    assert len(_refused(driver)) == 2
