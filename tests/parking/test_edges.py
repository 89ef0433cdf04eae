"""Parked keys beside everything else: what does not decode, bounds, time, executions, the bus, and what is refused."""

from typing import Any

import orjson
import pytest

from streamflow.bus.detail import Detail
from streamflow.errors import TopologyError
from streamflow.model.chunk import Record
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.debugger import Debugger
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Order: {t: timestamp, k: int, b: int, n: int}}
nodes:
  s: {kind: source, topic: in, schema: Order, event_time: t, key: k, past: {limit: 1d, policy: dead_letter}}
  m: {kind: map, input: s, set: {share: 100 / b}}
  o: {kind: sink, input: m, topic: out}
  w: {kind: window, input: m, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}, late: late}
  c: {kind: sink, input: w, topic: counts}
parking: {s: {max_waiting: 3, max_keys: 2}}
"""
_NOW = 1_000_000
_AWAITED = "00000000001-" + "0" * 32


def _driver(topology: str = _TOPOLOGY, **options: Any) -> Driver:
    return Driver(make_plan(parse_topology(topology)), **options)


def _order(number: int, key: int = 1, b: int = 1, time_ms: int | None = None) -> dict[str, Any]:
    return {"t": _NOW + number if time_ms is None else time_ms, "k": key, "b": b, "n": number}


def _letters(driver: Driver) -> list[tuple[Record, dict[str, bytes]]]:
    return [(record, dict(record.headers)) for record in driver.records("t.dead_letters")]


def _done(driver: Driver) -> list[int]:
    return [row["n"] for row in driver.output("out")]


@pytest.mark.parametrize("chunk_size", [1, 100])
def test_what_does_not_decode_parks_the_key_of_its_record_and_waits_in_its_turn(chunk_size: int) -> None:
    driver = _driver(chunk_size=chunk_size)
    driver.publish("in", [_order(1)])
    driver.put("in", b"1", b"first")
    driver.publish("in", [_order(2), _order(3, key=2)])
    driver.put("in", b"1", b"second")
    driver.publish("in", [_order(4)])
    driver.put("in", b"no number", b"of no key")
    driver.put("in", b"2", orjson.dumps(_order(5, key=2)))
    driver.run()
    driver.crash()
    driver.run()
    assert _done(driver) == [1, 3, 5]
    (first, headers), (other, others) = _letters(driver)
    assert (first.value, headers["sf-parked"], other.value) == (b"first", b"s/1/1", b"of no key")
    assert "sf-parked" not in others
    driver.redrive(first)
    driver.run()
    _, _, (again, headers) = _letters(driver)
    assert (again.value, headers["sf-attempts"]) == (b"first", b"2")
    assert driver.table("s.parked")[1] == {"offset": 8, "since": _NOW, "failures": 2, "waiting": 3}
    driver.redrive(again, _order(6))
    driver.run()
    assert _done(driver) == [1, 3, 5, 6, 2]
    second, headers = _letters(driver)[-1]
    assert (second.value, headers["sf-reason"], headers["sf-attempts"]) == (b"second", b"decode", b"1")
    driver.discard(second)
    driver.run()
    assert _done(driver) == [1, 3, 5, 6, 2, 4]
    assert driver.table("s.parked") == {}


def test_beyond_the_bounds_events_are_letters_and_keys_go_on() -> None:
    driver = _driver()
    driver.publish("in", [_order(n) for n in (1, 2)])
    driver.publish("in", [_order(n, key, b=0) for n, key in ((3, 1), (4, 2), (5, 3))])
    driver.publish("in", [_order(n, key) for n, key in ((6, 3), (7, 1), (8, 2), (9, 1), (10, 2), (11, 1))])
    driver.run()
    assert _done(driver) == [1, 2, 6], "key 3 was one too many to be parked"
    reasons = [(headers["sf-reason"], "sf-parked" in headers) for _, headers in _letters(driver)]
    assert reasons == [*[(b"expression", True)] * 2, (b"expression", False), *[(b"parked_full", False)] * 2]
    (task,) = driver.tasks()
    assert task.parked() == (2, 3, 1)
    driver.discard(_letters(driver)[0][0])
    driver.run()
    assert _done(driver) == [1, 2, 6, 7, 9]


def test_a_time_too_far_parks_too_and_is_judged_again() -> None:
    driver = _driver()
    driver.publish("in", [_order(1, time_ms=_NOW - 2 * 86_400_000), _order(2)])
    driver.run()
    ((letter, headers),) = _letters(driver)
    assert (headers["sf-reason"], headers["sf-parked"], _done(driver)) == (b"event_time_behind", b"s/0/1", [])
    driver.redrive(letter)
    driver.run()
    _, (letter, headers) = _letters(driver)
    assert headers["sf-attempts"] == b"2"
    driver.redrive(letter, _order(1))
    driver.run()
    assert _done(driver) == [1, 2]


@pytest.mark.parametrize("chunk_size", [1, 4, 100])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("point", [None, *CrashPoint])
def test_time_goes_on_while_events_wait_and_they_keep_theirs_or_get_that_of_their_release(
    chunk_size: int, fused: bool, point: CrashPoint | None
) -> None:
    counts = []
    for time in ("event", "release"):
        topology = _TOPOLOGY.replace("max_waiting: 3", f"max_waiting: 30, time: {time}")
        driver = _driver(topology, chunk_size=chunk_size, fused=fused)
        if point is not None:
            driver.crash_at = dict.fromkeys(range(3, 30, 4), point)
        driver.publish("in", [_order(0), _order(1, b=0), _order(2), _order(3), _order(25, key=2)])
        driver.run()
        rows = [(row["k"], row["start"] - _NOW, row["n"]) for row in driver.output("counts")]
        assert rows == [(1, 0, 1)], "what waits holds no window open"
        driver.redrive(_letters(driver)[0][0], _order(1))
        driver.publish("in", [_order(26), _order(40, key=2), _order(41)])
        driver.run()
        rows = [(row["k"], row["start"] - _NOW, row["n"]) for row in driver.output("counts")]
        counts.append(([row for row in rows if row[0] == 1], len(driver.output("late"))))
        assert _done(driver)[:2] == [0, 25]
        assert [n for n in _done(driver) if n not in (25, 40)] == [0, 1, 2, 3, 26, 41]
    assert counts == [([(1, 0, 1), (1, 20, 1)], 3), ([(1, 0, 1), (1, 20, 4)], 0)]


def test_an_execution_waits_with_its_event_and_the_bus_tells_of_the_key() -> None:
    driver = _driver(events=Detail.LIFECYCLE)
    driver.publish("in", [_order(1, b=0)])
    driver.publish("in", [_order(2)], correlation=_AWAITED)
    driver.publish("in", [_order(3)])
    driver.run()
    assert not driver.outcome(_AWAITED).is_complete
    driver.redrive(_letters(driver)[0][0], _order(1))
    driver.run()
    assert [row["topic"] for row in driver.outcome(_AWAITED).rows] == ["out"]
    told = [(each["type"], each["position"], each["data"]) for each in driver.output(EVENTS) if "KEY" in each["type"]]
    place = {"stage": "s", "partition": 0}
    assert told == [
        ("KEY_PARKED", "in/0/0", {**place, "failures": 1, "waiting": 0}),
        ("KEY_RELEASED", "in/0/0", {**place, "outcome": "redriven", "waiting": 2}),
    ]


@pytest.mark.parametrize("waiting", [[], [2]])
@pytest.mark.parametrize("chunk_size", [1, 100])
def test_a_key_waits_no_more_behind_an_execution_that_was_cancelled(chunk_size: int, waiting: list[int]) -> None:
    """And those that are passed over shift nothing: what comes again behind them is known."""
    driver = _driver(chunk_size=chunk_size)
    driver.publish("in", [_order(1, b=0), *map(_order, waiting), _order(3, key=2, b=0), _order(4, key=2)])
    driver.run()
    (first, _), (other, _) = _letters(driver)
    driver.redrive(first, _order(1))
    driver.redrive(other, _order(3, key=2))
    driver.publish("in", [_order(5), _order(6, key=2)])
    again = driver.records("in")[3 + len(waiting)]
    driver.cancel(dict(again.headers)["sf-correlation"].decode(), "no longer wanted")
    driver.run()
    assert _done(driver) == [*waiting, 3, 4, 5, 6]
    assert driver.table("s.parked") == {}


def test_nothing_waits_for_somebody_beyond_the_end_of_a_bounded_run() -> None:
    """What would is a dead letter, so each event is in the results or there."""
    driver = Driver(bounded(make_plan(parse_topology(_TOPOLOGY))))
    driver.publish("in", [_order(1), _order(2, b=0), _order(3), _order(4, key=2), _order(5)])
    driver.finish()
    assert _done(driver) == [1, 4]
    letters = [(orjson.loads(record.value or b"")["n"], headers["sf-reason"]) for record, headers in _letters(driver)]
    assert letters == [(2, b"expression"), (3, b"parked_full"), (5, b"parked_full")]


def test_a_debugged_topology_parks_too() -> None:
    debugger = Debugger(make_plan(parse_topology(_TOPOLOGY)))
    told = [debugger.feed("in", orjson.dumps(each), _NOW) for each in (_order(1, b=0), _order(2), _order(3, key=2))]
    assert [each.outputs[0].get("reason") for each in told] == ["expression", "parked_full", None]
    assert told[0].state[0]["table"] == "s.parked"


def test_only_inputs_of_stages_that_have_a_key_and_call_nobody_can_park() -> None:
    topology = """
topology: t
schemas: {Order: {k: str, n: int}}
nodes:
  s: {kind: source, topic: in, schema: Order}
  by: {kind: key_by, input: s, key: k}
  asked: {kind: http_request, input: by, url: "https://example.org", method: GET, response: {ok: bool}}
  o: {kind: sink, input: asked, topic: out}
parking: {s: {}, asked: {}, by: {}, bye: {}}
"""
    with pytest.raises(TopologyError) as caught:
        parse_topology(topology)
    found = {problem.place: problem.message for problem in caught.value.problems if "parking" in problem.place}
    assert found == {
        "parking.s": "its rows have no key to wait by",
        "parking.asked": "rows do not come here by a topic, so none can wait",
        "parking.by": "asked asks outside, ahead of the order in which rows are worked on",
        "parking.bye": "there is no such node",
    }
