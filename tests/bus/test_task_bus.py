"""What tasks say on the bus agrees with what they did, in every shape and after crashes."""

from collections import Counter
from typing import Any

import pytest

from streamflow.bus.detail import Detail
from streamflow.bus.event import BusEvent
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_PLAN = make_plan(
    parse_topology(
        """
        topology: shop
        schemas: {Sale: {time: timestamp, shop: str, amount: int}}
        nodes:
          sales:  {kind: source, topic: sales, schema: Sale, event_time: time, key: shop}
          share:  {kind: map, input: sales, set: {part: 100 / amount}}
          totals: {kind: window, input: share, window: {type: tumbling, size: 1s}, late: too_late, aggregate: {n: count()}}
        """
    )
)
_END = {"time": 900_000, "shop": "end", "amount": 1}


def _sale(time: int, shop: str = "a", amount: int = 1) -> dict[str, Any]:
    return {"time": time, "shop": shop, "amount": amount}


def _events(driver: Driver) -> list[BusEvent]:
    return [BusEvent.decode(record.value) for record in driver.records(EVENTS) if record.value is not None]


def _run(detail: Detail, **shape: Any) -> Driver:
    driver = Driver(_PLAN, events=detail, **shape)
    driver.publish("sales", [_sale(1_000), _sale(1_100, "b"), b"junk", _sale(1_200, amount=0), b"junk"])
    driver.publish("sales", [_sale(5_000), _sale(1_300), _sale(1_400), _sale(1_500, amount=0), _END])
    return driver


def _sums(events: list[BusEvent]) -> Counter[tuple[Any, ...]]:
    """Counts by what they are about, however they are cut into events."""
    found: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        what = event.data.get("reason") or event.data.get("start")
        found[event.type, event.subject, what] += int(event.data.get("count", event.data.get("rows", 0)))
    return found


_DEAD_AND_LATE = {
    ("DEAD_LETTER_ADDED", "shop/sales", "decode"): 2,
    ("DEAD_LETTER_ADDED", "shop/share", "expression"): 2,
    ("LATE_DROPPED", "shop/totals", None): 2,
}


def test_off_says_nothing() -> None:
    driver = _run(Detail.OFF)
    driver.run()
    assert driver.records(EVENTS) == []


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 3, 1_000])
def test_lifecycle_sums_up_dead_letters_and_late_rows(chunk_size: int, fused: bool) -> None:
    driver = _run(Detail.LIFECYCLE, chunk_size=chunk_size, fused=fused)
    driver.run()
    assert _sums(_events(driver)) == _DEAD_AND_LATE
    assert len(driver.dead_letters()) == 4
    assert len(driver.records("too_late")) == 2


def test_one_checkpoint_makes_one_event_per_node_and_reason_with_the_first_position() -> None:
    driver = _run(Detail.LIFECYCLE)
    driver.run()
    events = {(event.type, event.subject): event for event in _events(driver)}
    assert len(events) == len(_events(driver)) == 3
    dead = events["DEAD_LETTER_ADDED", "shop/sales"]
    assert (dead.position, dead.severity, dead.source) == ("sales/0/2", "warning", "urn:streamflow:task:shop/sales/0")
    assert dead.data == {
        "stage": "sales",
        "partition": 0,
        "reason": "decode",
        "count": 2,
        "topic": "shop.dead_letters",
        "error_class": "permanent",
        "attempts": 1,
    }
    assert events["LATE_DROPPED", "shop/totals"].data["to_topic"] == "too_late"


@pytest.mark.parametrize("chunk_size", [1, 4, 1_000])
def test_every_also_tells_each_letter_and_each_window_with_its_rows(chunk_size: int) -> None:
    driver = _run(Detail.EVERY, chunk_size=chunk_size)
    driver.run()
    events = [event for event in _events(driver) if event.type != "WIDGET_UPDATE_REQUESTED"]
    windows = {("WINDOW_CLOSED", "shop/totals", 1_000): 2, ("WINDOW_CLOSED", "shop/totals", 5_000): 1}
    assert _sums(events) == _DEAD_AND_LATE | windows
    letters = [event for event in events if event.type == "DEAD_LETTER_ADDED"]
    assert sorted(event.position for event in letters) == ["sales/0/2", "sales/0/3", "sales/0/4", "sales/0/8"]


@pytest.mark.parametrize("chunk_size", [1, 4, 1_000])
def test_every_asks_for_a_refresh_once_per_checkpoint_that_changes_a_table(chunk_size: int) -> None:
    driver = _run(Detail.EVERY, chunk_size=chunk_size)
    driver.run()
    asked = [event for event in _events(driver) if event.type == "WIDGET_UPDATE_REQUESTED"]
    assert {(event.subject, event.data["view"]) for event in asked} == {("shop/totals", "totals")}
    (table,) = _PLAN.stages[0].tables
    assert sum(event.data["count"] for event in asked) == len(driver.records(table.changelog_topic))
    assert len(asked) <= 11 // chunk_size + 1


def test_sampled_tells_of_the_same_windows_in_every_task() -> None:
    driver = Driver(_PLAN, events=Detail.SAMPLED, partitions=2)
    driver.publish("sales", [_sale(second * 1_000, shop) for second in range(1_000) for shop in "abcdefgh"])
    driver.publish("sales", [_sale(1_200_000, shop) for shop in "abcdefgh"])
    driver.run()
    starts: dict[Any, set[int]] = {0: set(), 1: set()}
    for event in _events(driver):
        starts[event.data["partition"]].add(event.data["start"])
    assert starts[0] == starts[1]
    assert 1 <= len(starts[0]) <= 30


@pytest.mark.parametrize("point", list(CrashPoint))
@pytest.mark.parametrize("crash_at", [1, 3, 6])
def test_after_a_crash_the_log_still_agrees_with_the_results(point: CrashPoint, crash_at: int) -> None:
    driver = _run(Detail.EVERY, chunk_size=1)
    driver.crash_at = {crash_at: point}
    driver.run()
    reasons = Counter(letter["sf-reason"] for letter in driver.dead_letters())
    told = Counter(event.data["reason"] for event in _events(driver) if event.type == "DEAD_LETTER_ADDED")
    assert told == reasons == {"decode": 2, "expression": 2}
    assert len({event.position for event in _events(driver) if event.position}) == 4
