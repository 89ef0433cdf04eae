"""When rounds are due: multiples of a time, and cron expressions across changes of the clock."""

import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamflow.cli import schedule
from streamflow.cli.main import app
from streamflow.cli.runs import EXIT_UNFINISHED, round_of
from streamflow.clock.schedule import Cron, Every, Schedule
from streamflow.errors import UserError
from streamflow.runtime.rounds import Round
from streamflow.runtime.runs import RunRecord
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  o: {kind: sink, input: s, topic: out}
"""
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


def test_a_stop_that_comes_while_a_round_begins_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY)

    def begin(*_: Any) -> Round:
        os.kill(os.getpid(), signal.SIGTERM)
        return Round(1, round_of("daily", 1).plan(parse_topology(_TOPOLOGY)), RunRecord("earliest", 0, {}, {}))

    monkeypatch.setattr(schedule._Rounds, "next", begin)
    monkeypatch.setattr(schedule, "supervisor_of", lambda *_: pytest.fail("its workers are started"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        found = CliRunner().invoke(app, ["schedule", str(tmp_path), "daily", "--once"])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert found.exit_code == EXIT_UNFINISHED, found.output
