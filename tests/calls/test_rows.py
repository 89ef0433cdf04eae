"""A plain function under a policy: what is tried again, what stands in, and what its dead letter says."""

from collections import Counter
from typing import Any

import pytest

from streamflow.calls.guarded import WorkerLacks
from streamflow.errors import TopologyError
from streamflow.kit import Row
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.document import spec_of


class Tried(Row):
    """What a call takes."""

    number: int


class Found(Row):
    """What a call gives; `degraded`: nothing was found."""

    number: int
    attempt: int
    degraded: bool = False


#: Calls so far, by number. Functions of a topology have no other memory between two attempts.
CALLS: Counter[int] = Counter()


def fails_twice(row: Tried) -> Found:
    """Odd numbers fail twice for a passing reason, multiples of 5 always for a lasting one, 77 for want of memory."""
    CALLS[row.number] += 1
    if row.number == 77:
        raise MemoryError
    if row.number % 5 == 0:
        raise ValueError("five")
    if row.number % 2 and CALLS[row.number] % 3:
        raise ConnectionError("cut")
    return Found(row.number, CALLS[row.number])


def driver(resilience: dict[str, Any] | None, **shape: Any) -> Driver:
    node: dict[str, Any] = {"kind": "python", "input": "asked", "call": "tests.calls.test_rows:fails_twice"}
    document = {
        "topology": "t",
        "schemas": {"Asked": {"number": "int"}},
        "nodes": {
            "asked": {"kind": "source", "topic": "asked", "schema": "Asked"},
            "found": node | ({"resilience": resilience} if resilience is not None else {}),
            "out": {"kind": "sink", "input": "found", "topic": "out"},
        },
    }
    CALLS.clear()
    return Driver(make_plan(spec_of(document)), **shape)


def run(made: Driver, numbers: range) -> tuple[dict[int, dict[str, Any]], list[dict[str, str]]]:
    """Rows out by number, and the headers of the dead letters."""
    made.publish("asked", [{"number": number} for number in numbers])
    made.run()
    return {row["number"]: row for row in made.output("out")}, made.dead_letters()


@pytest.mark.parametrize("shape", [{}, {"chunk_size": 1}, {"fused": False, "chunk_size": 3}])
def test_passing_failures_are_tried_again_and_lasting_ones_are_not(shape: dict[str, Any]) -> None:
    rows, letters = run(driver({"retry": {"attempts": 3}}, **shape), range(1, 20))
    assert {number: row["attempt"] for number, row in rows.items()} == {
        number: 3 if number % 2 else 1 for number in range(1, 20) if number % 5
    }
    assert [CALLS[number] for number in (5, 10, 15)] == [1, 1, 1]
    assert [(each["sf-node"], each["sf-class"], each["sf-calls"]) for each in letters] == [
        ("found", "permanent", "1")
    ] * 3
    assert letters[0]["sf-error"].startswith("ValueError: five (test_rows.py:")
    assert "tests.calls.test_rows:" in letters[0]["sf-stack"]


def test_when_attempts_are_used_up_the_class_is_told() -> None:
    rows, letters = run(driver({"retry": {"attempts": 2}}), range(1, 4))
    assert sorted(rows) == [2]
    told = [(each["sf-reason"], each["sf-class"], each["sf-calls"], each["sf-offset"]) for each in letters]
    assert told == [("unreachable", "transient", "2", "0"), ("unreachable", "transient", "2", "2")]


def test_all_classes_may_be_tried_and_a_row_stands_in() -> None:
    policy = {
        "retry": {"attempts": 2, "on": ["transient", "permanent"]},
        "fallback": {"number": 0, "attempt": 0, "degraded": True},
    }
    rows, letters = run(driver(policy), range(1, 7))
    assert letters == []
    assert CALLS[5] == 2
    assert sorted(rows) == [0, 2, 4, 6]
    assert rows[0]["degraded"]


def test_a_crash_asks_again_and_gives_each_row_once() -> None:
    made = driver({"retry": {"attempts": 3}}, chunk_size=2)
    made.crash_at = dict.fromkeys(range(1, 9, 3), CrashPoint.BEFORE_COMMIT)
    made.publish("asked", [{"number": number} for number in range(1, 20)])
    made.run()
    assert sorted(row["number"] for row in made.output("out")) == [number for number in range(1, 20) if number % 5]
    assert len(made.dead_letters()) == 3


def test_what_a_worker_lacks_ends_it() -> None:
    with pytest.raises(WorkerLacks, match="MemoryError"):
        run(driver({"fallback": {"number": 0, "attempt": 0, "degraded": True}}), range(77, 78))


def test_an_unknown_mark_is_told() -> None:
    with pytest.raises(TopologyError, match="no bool 'kept'"):
        driver({"cache": {"mark": "kept"}})
