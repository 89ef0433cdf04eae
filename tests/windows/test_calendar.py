"""Calendar windows hold what has one local date, across every kind of change of the clock. The model asks for dates only."""

import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, watermark_delay: 3h, key: k}}
  w: {{kind: window, input: s, window: {{type: calendar, unit: {unit}, zone: {zone}}}, retention: 2000d, aggregate: {{n: count()}}}}
  o: {{kind: sink, input: w, topic: out}}
"""
_HOUR = 3_600_000
#: Moments around which clocks change, UTC.
_CHANGES = {
    "Europe/Berlin": ("2025-03-30T01:00", "2025-10-26T01:00"),
    "America/New_York": ("2025-03-09T07:00", "2025-11-02T06:00"),
    "Asia/Kolkata": ("2025-01-31T18:30", "2025-12-31T18:30"),
    "Australia/Lord_Howe": ("2025-04-05T15:00", "2025-10-04T15:30"),  # by half an hour
    "America/Sao_Paulo": ("2018-11-04T03:00", "2018-02-18T02:00"),  # a midnight that is not, and one that is twice
    "Pacific/Apia": ("2011-12-30T10:00", "2012-01-01T10:00"),  # a day that is not
}


def _group(unit: str, day: date) -> object:
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": (day.year, day.month)}[unit]


@pytest.mark.parametrize("unit", ["day", "week", "month"])
@pytest.mark.parametrize("zone", _CHANGES)
def test_a_window_is_a_local_day_week_or_month(zone: str, unit: str) -> None:
    chance, times = random.Random(f"{zone} {unit}"), list[int]()
    for change in _CHANGES[zone]:
        at = int(datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp() * 1_000)
        times += [at - 1, at, at + 1, at - _HOUR, at + _HOUR]
        times += [at + chance.randrange(-50 * _HOUR, 50 * _HOUR) for _ in range(60)]
    times.sort()
    expected: dict[object, list[int]] = {}
    for time in times:
        local = datetime.fromtimestamp(time / 1_000, ZoneInfo(zone)).date()
        expected.setdefault(_group(unit, local), []).append(time)
    for chunk_size in (7, 1_000):
        driver = Driver(
            bounded(make_plan(parse_topology(_TOPOLOGY.format(unit=unit, zone=zone)))), chunk_size=chunk_size
        )
        driver.now_ms = times[-1]
        driver.publish("in", [{"t": time, "k": "a"} for time in times])
        driver.finish()
        rows = sorted(driver.output("out"), key=lambda row: row["start"])
        assert [row["n"] for row in rows] == [len(held) for held in expected.values()]
        for row, held in zip(rows, expected.values(), strict=True):
            assert row["start"] <= held[0] <= held[-1] < row["end"]
        assert all(first["end"] <= second["start"] for first, second in pairwise(rows))
        for row in rows:  # the borders are where the local date changes
            before, first = (
                datetime.fromtimestamp((row["start"] + ms) / 1_000, ZoneInfo(zone)).date() for ms in (-1, 0)
            )
            assert _group(unit, before) != _group(unit, first)
