"""The kit by itself: what a person's own tests do, the bounds, and that a failed call leaves nothing behind."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from streamflow.errors import EventError
from streamflow.kit import List, Map, Process, Row, Time, Timer, Trial, Value
from streamflow.kit.agenda import NEVER, Agenda
from streamflow.kit.declaration import (
    NotDeclared,
    declaration_of_function,
    declaration_of_node,
    find,
    problems_of_arguments,
)
from streamflow.kit.samples import Reading, Silence, Silent, in_fahrenheit


class Command(Row):
    do: Any


class Answer(Row):
    at: Time
    value: float | None
    more: dict[str, Any]


class Point(Row):
    x: int


class Obedient(Process):
    """Does what a row says, to its own states."""

    value = Value(float)
    points = List(Point, max_entries=2)
    words = Map(str, str, max_entries=100)
    brief = Value(str, ttl=10)

    def process(self, row: Command) -> Iterator[Answer]:
        yield from row.do(self) or ()

    def on_timer(self, timer: Timer) -> Answer:
        return Answer(timer.time_ms, self.value.get(), {"name": timer.name, "clock": timer.clock})


def test_a_node_is_tried_without_an_engine() -> None:
    trial = Trial(Silence(minutes=1))
    assert trial.process(Reading(1_000, "kitchen", 20.5), key="kitchen", time_ms=1_000) == []
    assert trial.process(Reading(500, "kitchen", 20.4), key="kitchen", time_ms=500) == []
    assert trial.states("kitchen") == {"last": 1_000}
    assert trial.watermark(60_999) == []
    assert trial.watermark(61_000) == [Silent("kitchen", 1_000)]
    assert trial.states("kitchen") == {"last": None}
    assert trial.watermark(10**9) == []


def test_a_timer_that_is_set_too_late_fires_at_once() -> None:
    trial = Trial(Silence(minutes=1))
    trial.watermark(100_000)
    assert trial.process(Reading(0, "a", 1), key="a", time_ms=0) == [Silent("a", 0)]


def _do(trial: Trial, do: Any, time_ms: int = 0, key: str = "k") -> list[Any]:
    return trial.process(Command(do), key=key, time_ms=time_ms)


@pytest.mark.parametrize(
    ("do", "reason", "message"),
    [
        (lambda n: n.value.set("x"), "process", "value keeps float"),
        (lambda n: n.brief.set(3), "process", "brief keeps str"),
        (lambda n: n.points.append({"x": 1.5}), "process", "points keeps"),
        (lambda n: [n.points.append(Point(i)) for i in range(3)], "state_full", "2 entries already, its max_entries"),
        (lambda n: n.points.replace([Point(1)] * 3), "state_full", "2 entries"),
        (lambda n: [n.words.set(str(i), "") for i in range(101)], "state_full", "100 entries"),
        (lambda n: [n.words.set(str(i), "x" * 20_000) for i in range(100)], "state_full", "at most 1048576 are kept"),
        (lambda n: [n.timers.set(i, str(i)) for i in range(1_001)], "state_full", "1000 timers"),
        (lambda n: n.timers.set(1.5), "process", "no time of a timer"),
        (lambda n: n.timers.set(1, "x" * 201), "process", "at most 200 characters"),
        (lambda n: [Answer(1, float("nan"), {})], "process", "value is nan, which is no float"),
        (lambda n: [Answer(None, 1, {})], "process", "at is None, which is no timestamp"),  # type: ignore[arg-type]
        (lambda n: [Answer(1, 1, {"x": {1, 2} and object()})], "process", "no json"),
        (lambda n: [Point(1)], "process", "which is no Answer"),
        (lambda n: iter(int, 1), "process", "more than 100000 rows"),
        (lambda n: 1 / 0, "process", r"ZeroDivisionError: division by zero \(test_kit.py:\d+\)"),
    ],
)
def test_a_call_that_fails_leaves_nothing_behind(do: Any, reason: str, message: str) -> None:
    trial = Trial(Obedient())

    def prepare(node: Obedient) -> None:
        node.value.set(1)
        node.words.set("a", "b")
        node.points.append(Point(5))
        node.timers.set(500, "kept")

    def spoil(node: Obedient) -> Any:
        node.value.set(2)
        node.brief.set("brief")
        node.words.set("a", "c")
        node.words.set("new", "c")
        node.words.delete("a")
        node.points.clear()
        node.timers.set(400, "kept")
        node.timers.set(400, "more")
        node.timers.delete("kept")
        node.clock.set_after(5)
        return do(node)

    _do(trial, prepare)
    before = trial.states("k")
    with pytest.raises(EventError, match=message) as caught:
        _do(trial, spoil)
    assert caught.value.reason == reason
    assert trial.states("k") == before == {"value": 1.0, "points": [{"x": 5}], "words": {"a": "b"}, "brief": None}
    assert trial.wait(10**6) == []
    assert trial.watermark(10**6) == [Answer(500, 1.0, {"name": "kept", "clock": False})]


def test_what_was_given_to_a_state_cannot_be_changed_behind_its_back() -> None:
    trial, point = Trial(Obedient()), Point(1)
    _do(trial, lambda n: n.points.append(point))
    point.x = 2
    _do(trial, lambda n: setattr(next(iter(n.points)), "x", 3))
    assert trial.states("k")["points"] == [{"x": 1}]


def test_a_ttl_ends_when_the_watermark_passes_it_and_a_late_write_does_not_shorten_it() -> None:
    trial = Trial(Obedient())
    _do(trial, lambda n: n.brief.set("a"), time_ms=100)
    _do(trial, lambda n: n.brief.set("b"), time_ms=50)
    trial.watermark(109)
    assert trial.states("k")["brief"] == "b"
    trial.watermark(110)
    assert trial.states("k")["brief"] is None
    _do(trial, lambda n: n.brief.set("late"), time_ms=100)
    assert trial.states("k")["brief"] is None


def test_timers_of_a_name_move_and_are_taken_back() -> None:
    trial = Trial(Obedient())

    def set_them(node: Obedient) -> None:
        for name, time in (("b", 10), ("a", 10), ("moved", 5), ("gone", 6)):
            node.timers.set(time, name)
        node.timers.set(20, "moved")
        node.timers.delete("gone")
        assert (node.timers.get("moved"), node.timers.get("gone")) == (20, None)

    _do(trial, set_them)
    assert [(row.at, row.more["name"]) for row in trial.watermark(30)] == [(10, "a"), (10, "b"), (20, "moved")]


def test_a_timer_may_set_a_later_one_only() -> None:
    class Eager(Process):
        def process(self, row: Command) -> None:
            self.timers.set(10, row.do)

        def on_timer(self, timer: Timer) -> Answer:
            self.timers.set(timer.time_ms + (1 if timer.name == "later" else 0), "same")
            return Answer(timer.time_ms, None, {})

    trial = Trial(Eager())
    trial.process(Command("later"), key="k", time_ms=0)
    with pytest.raises(EventError, match="set a later one"):
        trial.watermark(50)


def test_clock_timers_follow_the_clock() -> None:
    trial = Trial(Obedient())
    _do(trial, lambda n: n.clock.set_after(100, "poll"), time_ms=7)
    assert trial.wait(99) == []
    assert trial.wait(1) == [Answer(100, None, {"name": "poll", "clock": True})]
    assert trial.wait(1_000) == []


def test_states_are_only_at_hand_in_a_call() -> None:
    with pytest.raises(EventError, match="try it with a Trial"):
        Silence().last.get()


def test_the_agenda_keeps_the_first_moment_of_a_key() -> None:
    agenda = Agenda()
    assert [agenda.want("a", 10), agenda.want("a", 12), agenda.want("a", 8), agenda.want("b", 8)] == [1, 0, 1, 1]
    assert [agenda.pop(9), agenda.pop(9), agenda.pop(9)] == [(8, "a"), (8, "b"), None]
    assert agenda.want("a", 10)
    assert [agenda.pop(20), agenda.pop(20), agenda.first_ms] == [(10, "a"), None, NEVER]


def test_hints_are_the_declaration() -> None:
    declared = declaration_of_node(Silence)
    assert (declared.input_type, declared.output_type) == (Reading, Silent)
    assert declaration_of_function(in_fahrenheit).input_type is Reading
    assert problems_of_arguments(Silence, {"minutes": 3}) == []
    assert problems_of_arguments(Silence, {"minutes": "3"}) == ["minutes: Expected `int`, got `str`"]
    assert "unexpected keyword argument 'hours'" in problems_of_arguments(Silence, {"hours": 3})[0]
    assert "takes no arguments" in problems_of_arguments(Obedient, {"x": 1})[0]


def test_another_meaning_of_the_state_is_another_layout() -> None:
    def layout(**members: Any) -> str:
        return declaration_of_node(type("Made", (Silence,), members)).layout

    plain = layout()
    others = [layout(version=2), layout(last=Value(float)), layout(more=Value(int)), layout(last=Value(list[int]))]
    assert len({plain, *others}) == 5
    assert layout(last=Value(int, ttl="1d")) == plain


def no_result(row: Reading):
    return row


async def slow(row: Reading) -> AsyncIterator[Silent]:
    yield Silent("", 0)


def bad_field(row: Reading) -> "Odd":
    return Odd({1})


class Odd(Row):
    x: set[int]


@pytest.mark.parametrize(
    ("declare", "target", "message"),
    [
        (declaration_of_function, find("os:system"), "is no function"),
        (declaration_of_function, find("os:getenv"), "does not say which rows it gives"),
        (declaration_of_function, no_result, "does not say which rows it gives"),
        (declaration_of_function, slow, "is an async generator"),
        (declaration_of_function, bad_field, r"Odd.x is set\[int\]"),
        (declaration_of_function, Silence, "is no function"),
        (declaration_of_node, in_fahrenheit, "is no node class"),
        (declaration_of_node, Process, "is no node class"),
    ],
)
def test_code_that_says_too_little_is_refused(declare: Any, target: Any, message: str) -> None:
    with pytest.raises(NotDeclared, match=message):
        declare(target)


@pytest.mark.parametrize(
    "path", ["nowhere:X", "os", "os:nothing_there", "os:path.join", "../x:Y", "tests.kit.broken:X"]
)
def test_what_cannot_be_found_is_told(path: str) -> None:
    with pytest.raises(NotDeclared):
        find(path)


def test_bounds_of_declarations() -> None:
    for wrong in (lambda: List(int, max_entries=0), lambda: Map(float, int, max_entries=1), lambda: Value(int, ttl=0)):  # type: ignore[type-var]
        with pytest.raises(ValueError):
            wrong()
