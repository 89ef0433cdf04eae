"""Which window a moment means, for every kind of window, and whether the table has it: over stores that tasks wrote."""

import pytest

from streamflow.engine.program import layout_of
from streamflow.errors import UserError
from streamflow.nodes.operators import Fold
from streamflow.plan.planner import make_plan
from streamflow.query.readers import window_reader
from streamflow.query.standing import WindowFacts
from streamflow.query.window_facts import WindowQuestion, is_closed_by_time, window_facts
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, key: k}}
  w: {{kind: window, input: s, window: {{{window}}}, aggregate: {{n: count()}}{more}}}
"""
#: 2023-10-29, when Berlin's clocks go back: the day has 25 hours and begins at 22:00 UTC.
DAY = 1_698_530_400_000


class Asked:
    """A driver with a window, and questions to its table."""

    def __init__(self, window: str, more: str = "") -> None:
        self.driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(window=window, more=more))))
        found = self.driver.plan.table("w")
        assert found is not None
        self.stage, self.table = found

    def publish(self, *times: int) -> "Asked":
        """Events of key `a`, each written when it happened."""
        for time in times:
            self.driver.publish("in", [{"t": time, "k": "a"}], timestamp_ms=max(time, 1))
        self.driver.run()
        return self

    def facts(self, time_ms: int | None, key: str = "a") -> WindowFacts:
        """Facts at the watermark of the driver's only task."""
        fold = next(node.operator for node in self.stage.nodes if node.name == "w")
        assert isinstance(fold, Fold)
        (task,) = self.driver.tasks()
        reader = window_reader(self.table, layout_of(fold))
        question = WindowQuestion(self.stage, self.table, 0, key.encode(), time_ms)
        return window_facts(question, reader, self.driver._stores["s", 0], task.watermark_ms)

    def borders(self, time_ms: int | None, key: str = "a") -> tuple[int, int, bool]:
        """(start, end, exists)"""
        facts = self.facts(time_ms, key)
        return facts.start_ms, facts.end_ms, facts.exists


TUMBLING, SLIDING, SESSION = (
    "type: tumbling, size: 10ms",
    "type: sliding, size: 10ms, slide: 4ms",
    "type: session, gap: 10ms",
)


@pytest.mark.parametrize(
    ("window", "time_ms", "borders"),
    [
        (TUMBLING, 13, (10, 20, True)),
        (TUMBLING, 20, (20, 30, False)),
        (SLIDING, 13, (12, 22, True)),
        (SLIDING, 11, (8, 18, True)),
        (SLIDING, 8, (8, 18, True)),
        (SESSION, 5, (3, 22, True)),
        (SESSION, 21, (3, 22, True)),
        (SESSION, 22, (22, 32, False)),
        (SESSION, 2, (2, 12, False)),
        (SESSION, 45, (40, 50, True)),
    ],
)
def test_a_moment_means_the_window_that_holds_it(window: str, time_ms: int, borders: tuple[int, int, bool]) -> None:
    """Events of 3, 8, 12 and 40: the first session is closed, the second is open."""
    asked = Asked(window).publish(3, 8, 12, *([40] if window is SESSION else []))
    assert asked.borders(time_ms) == borders
    assert asked.borders(time_ms, "other")[2] is False


def test_a_calendar_day_is_as_long_as_the_calendar_says() -> None:
    asked = Asked("type: calendar, unit: day, zone: Europe/Berlin").publish(DAY + 5)
    assert asked.borders(DAY + 24 * 3_600_000 + 1) == (DAY, DAY + 25 * 3_600_000, True)


@pytest.mark.parametrize(
    ("more", "fires", "closes"),
    [
        ("", 10, 10),
        (", allowed_lateness: 5ms", 10, 15),
        (", allowed_lateness: 5ms, emit: final", 15, 15),
        (", allowed_lateness: 5ms, emit: update", 15, 15),
    ],
)
def test_when_it_fires_and_closes(more: str, fires: int, closes: int) -> None:
    facts = Asked(TUMBLING, more + ", retention: 100ms").publish(3).facts(3)
    assert (facts.fires_at_ms, facts.closes_at_ms, facts.kept_until_ms) == (fires, closes, 110)


@pytest.mark.parametrize("window", [TUMBLING, SLIDING, SESSION])
def test_without_a_moment_it_is_the_first_that_is_open(window: str) -> None:
    asked = Asked(window).publish(3, 33)
    start, end, exists = asked.borders(None)
    assert exists
    assert start <= 33 < end
    with pytest.raises(UserError, match="no open window"):
        asked.borders(None, "other")


@pytest.mark.parametrize(
    ("window", "timed"), [(TUMBLING, True), ("type: count, size: 3", False), ("type: global", False)]
)
def test_what_time_does_not_close_has_no_answer(window: str, timed: bool) -> None:
    more = "" if timed or "count" in window else ", emit: update"
    assert is_closed_by_time(Asked(window, more).table) is timed


def test_expired_rows_are_not_found() -> None:
    asked = Asked(TUMBLING, ", retention: 50ms").publish(3, 200)
    assert asked.borders(3) == (0, 10, False)
