"""When rows of a timer are due, against the definition; and what is refused in a timer."""

import time

import pytest

from streamflow.engine.moments import MADE_UP_MAX, Moments
from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Poll: {at: timestamp, city: str, id: int?}}
nodes:
  polls:
    kind: source
    topic: polls
    schema: Poll
    event_time: at
    key: city
    timer: {every: 60s, rows: [{city: oslo, id: 1}, {city: rome}]}
  out: {kind: sink, input: polls, topic: out}
"""


def _taken(moments: Moments, now_ms: int) -> list[tuple[int, int]]:
    return moments.take(now_ms, 100_000)


def test_rows_are_spread_and_come_in_the_order_of_their_moments() -> None:
    moments = Moments(1_000, 4, makes_up=False)
    moments.begin(range(4), 10_600, None)
    assert _taken(moments, 10_600) == [(9_750, 3), (10_000, 0), (10_250, 1), (10_500, 2)]
    assert (_taken(moments, 10_600), moments.next_ms) == ([], 10_750)
    assert _taken(moments, 11_300) == [(10_750, 3), (11_000, 0), (11_250, 1)]
    successor = Moments(1_000, 4, makes_up=False)
    successor.begin(range(4), 11_400, 11_000)  # what is behind 11,000 was published and lost, or never was
    assert _taken(successor, 11_800) == [(11_250, 1), (11_500, 2), (11_750, 3)]
    assert successor.missed == 0


def test_what_was_missed_is_passed_over_or_made_up_for() -> None:
    for makes_up, expected, missed in ((False, [(9_000, 0)], 5), (True, [(n * 1_000, 0) for n in range(4, 10)], 0)):
        moments = Moments(1_000, 1, makes_up)
        moments.begin([0], 9_999, 3_000)
        assert _taken(moments, 9_999) == expected
        assert moments.missed == missed
    moments = Moments(1_000, 1, makes_up=True)
    moments.begin([0], 5_000_000, 3_000)
    assert len(_taken(moments, 5_000_000)) == MADE_UP_MAX
    assert moments.missed == 5_000 - 3 - MADE_UP_MAX


def test_a_loop_that_was_held_up_does_not_pile_up() -> None:
    moments = Moments(1_000, 1, makes_up=False)
    moments.begin([0], 1_000, None)
    assert _taken(moments, 1_000) == [(1_000, 0)]
    assert _taken(moments, 7_500) == [(2_000, 0), (7_000, 0)]
    assert moments.missed == 4
    assert moments.take(9_000, 1) == [(8_000, 0)], "so many at most"


def test_rows_of_one_moment_are_taken_together_so_that_who_goes_on_behind_it_has_them_all() -> None:
    moments = Moments(100, 1_000, makes_up=False)
    moments.begin(range(1_000), 10_000, None)
    first = moments.take(10_000, 15)
    assert [moment for moment, _ in first] == [9_901] * 10 + [9_902] * 10
    successor = Moments(100, 1_000, makes_up=False)
    successor.begin(range(1_000), 10_000, first[-1][0])
    assert sorted(row for _, row in [*first, *_taken(successor, 10_000)]) == list(range(1_000))


def test_a_timer_is_planned() -> None:
    (timer,) = make_plan(parse_topology(_TOPOLOGY)).timers
    assert (timer.topic, timer.time, timer.key, timer.every_ms, timer.makes_up) == (
        "polls",
        "at",
        "city",
        60_000,
        False,
    )
    assert timer.rows == ({"city": "oslo", "id": 1}, {"city": "rome"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    event_time: at\n", ""), "need an event time"),
        (("{city: rome}", "{city: oslo, id: 1}"), "this row is there already"),
        (("{city: rome}", "{city: rome, at: 5}"), "'at' is filled in"),
        (("{city: rome}", "{id: 7}"), "nodes.polls.timer.rows.1"),
        (("{city: rome}", "{city: rome, town: x}"), "nodes.polls.timer.rows.1"),
        (("{city: rome}", "{city: rome, id: 99999999999999999999}"), "nodes.polls.timer.rows.1"),
        (("{city: rome}", "{city: {1: rome}}"), "nodes.polls.timer.rows.1"),
        (("every: 60s", "every: 1ms"), "nodes.polls.timer.every"),
    ],
)
def test_what_cannot_be_published_is_refused(change: tuple[str, str], said: str) -> None:
    with pytest.raises(TopologyError) as error:
        make_plan(parse_topology(_TOPOLOGY.replace(*change)))
    assert said in str(error.value)


def test_a_row_whose_turn_comes_too_late_is_left_out_and_counted() -> None:
    called = '{kind: python, input: polls, call: "tests.calls.functions:placed", resilience: {expires: 60s}}'
    text = _TOPOLOGY.replace("id: int?", "number: int").replace(
        "  out: {kind: sink, input: polls", f"  a: {called}\n  out: {{kind: sink, input: a"
    )
    text = text.replace("[{city: oslo, id: 1}, {city: rome}]", "[{city: oslo, number: 1}]")
    driver = Driver(make_plan(parse_topology(text)))
    now_ms = int(time.time() * 1_000)
    driver.publish(
        "polls",
        [{"at": now_ms - late_ms, "city": "oslo", "number": late_ms} for late_ms in (3_600_000, 0)],
        timestamp_ms=now_ms,
    )
    driver.run()
    assert driver.output("out") == [{"city": "oslo", "number": 0}]
    assert (driver.dead_letters(), driver.calls.guarded["a"].view()["expired"]) == ([], 1)
    driver.close()
