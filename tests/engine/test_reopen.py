"""A task that goes on after a pause judges time as one that was opened then: the pause was no silence."""

from hypothesis import given
from hypothesis import strategies as st

from streamflow.checkpoint.progress import NO_TIME, ProducerMark
from streamflow.engine.watermarks import EntryClock, TaskClock
from streamflow.plan.plan import Entry
from streamflow.testing.driver import Driver
from tests.engine.test_watermarks import KEYED, PLAN

_SOURCE: Entry = PLAN.stages[0].entries[0]
#: After how long, what happens: (producer of a mark or None for an event, its time, idle) and what waits then.
_STEPS = st.lists(
    st.tuples(st.integers(0, 150), st.none() | st.integers(0, 1), st.integers(0, 300), st.booleans(), st.booleans()),
    max_size=15,
)


class Clocks:
    """A task with a source and a repartition topic of two producers."""

    def __init__(self, task: TaskClock) -> None:
        self.task = task
        self.watermark_ms = NO_TIME

    def go(self, now: int, producer: int | None, time: int, idle: bool, waits: bool) -> tuple[object, ...]:
        source, keyed = self.task.entries
        if producer is None:
            source.high_ms, source.last_active_ms = max(source.high_ms, time), now
            self.task.judge(now)
        else:
            keyed.hear(producer, ProducerMark(time, idle))
        self.task.judge(now, lambda entry: waits)
        self.watermark_ms = self.task.watermark_ms(self.watermark_ms)
        return self.watermark_ms, self.task.is_idle, self.task.silence.settled, source.idle, keyed.silence.settled


@given(_STEPS, st.integers(1, 10_000), _STEPS)
def test_a_pause_of_any_length_is_like_a_restart(
    before: list[tuple[int, int | None, int, bool, bool]],
    pause_ms: int,
    after: list[tuple[int, int | None, int, bool, bool]],
) -> None:
    now = 1_000
    paused = Clocks(TaskClock([EntryClock.resume(_SOURCE, None, 0, now), EntryClock.resume(KEYED, None, 2, now)], now))
    for wait_ms, producer, time, idle, waits in before:
        now += wait_ms
        paused.go(now, producer, time, idle, waits)
    source, keyed = (clock.progress() for clock in paused.task.entries)
    now += pause_ms
    paused.task.reopen(now)
    opened = Clocks(
        TaskClock([EntryClock.resume(_SOURCE, source, 0, now), EntryClock.resume(KEYED, keyed, 2, now)], now)
    )
    opened.watermark_ms = paused.watermark_ms
    for wait_ms, producer, time, idle, waits in after:
        now += wait_ms
        step = producer, time, idle, waits
        assert paused.go(now, *step) == opened.go(now, *step)


def test_who_is_behind_hears_at_once_that_nobody_is_idle() -> None:
    """A producer that was idle before the pause has a backlog after it: its reader must wait for it again."""
    driver = Driver(PLAN, partitions=2)
    rows = [{"time": at, "p": f"p{number}", "k": "k"} for at in (10, 20, 30) for number in range(8)]
    driver.publish("in", rows)
    driver.run()
    driver.idle()
    topic = KEYED.topic
    assert b'"idle":true' in (driver.records(topic)[-1].value or b"")
    marks = len(driver.records(topic))
    driver.now_ms += 3_600_000
    for task in driver.tasks():
        task.reopen(driver.now_ms)
    driver.run()
    news = [record.value or b"" for record in driver.records(topic)]
    assert len(news) > marks
    assert sum(b'"idle":false' in value for value in news) >= 4, "both producers tell both readers"
