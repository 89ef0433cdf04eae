"""When rounds are due: multiples of a time, and cron expressions across changes of the clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.clock.schedule import Cron, Every, Schedule
from streamflow.errors import UserError

_BERLIN = ZoneInfo("Europe/Berlin")


def _ms(text: str, fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=_BERLIN, fold=fold).timestamp() * 1_000)


@given(st.sampled_from([Every(900_000), Every(1_000), Cron("*/15 * * * *"), Cron("0 2 * * 1", "Asia/Kathmandu")]),
       st.integers(1_000_000_000_000, 2_000_000_000_000))  # fmt: skip
def test_the_latest_moment_is_the_last_of_those_that_follow_one_another(when: Schedule, now_ms: int) -> None:
    latest = when.latest(now_ms)
    assert latest <= now_ms < when.following(latest)
    assert when.latest(latest) == latest
    assert when.latest(latest - 1) < latest == when.following(when.latest(latest - 1))


def test_every_moment_of_an_interval_is_a_multiple_of_it() -> None:
    assert [Every(60_000).latest(each) for each in (60_000, 119_999, 120_000)] == [60_000, 60_000, 120_000]


def test_an_hour_that_is_left_out_moves_the_moment_and_one_that_comes_twice_counts_once() -> None:
    nightly = Cron("30 2 * * *", "Europe/Berlin")
    assert nightly.following(_ms("2026-03-28T12:00")) == _ms("2026-03-29T03:00")
    assert nightly.latest(_ms("2026-03-29T12:00")) == _ms("2026-03-29T03:00")
    assert nightly.following(_ms("2026-10-25T00:00")) == _ms("2026-10-25T02:30")
    assert nightly.following(_ms("2026-10-25T02:30")) == _ms("2026-10-26T02:30")


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("0 2 * *", "UTC", "no cron expression"),
        ("0 0 31 2 *", "UTC", "Bad day-of-month"),
        ("0 2 * * *", "Berlin", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused(expression: str, zone: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Cron(expression, zone)
