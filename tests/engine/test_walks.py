"""Executions: what the bus says of events with an id, against a plain model, in every shape and after crashes."""

import itertools
from collections import Counter
from typing import Any

import orjson
import pytest

from streamflow.bus.detail import Detail
from streamflow.bus.event import BusEvent
from streamflow.bus.event_types import checked
from streamflow.bus.executions import ExecutionTable
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_PLAN = make_plan(
    parse_topology(
        """
        topology: t
        schemas: {Order: {time: timestamp, id: str?, shop: str, city: str?, n: int, card: str secret}}
        nodes:
          orders: {kind: source, topic: in, schema: Order, event_time: time, key: shop, execution_id: id}
          large:  {kind: filter, input: orders, where: n > 10}
          shown:  {kind: map, input: large, set: {double: n * 2}}
          out:    {kind: sink, input: shown, topic: large}
          by_city: {kind: key_by, input: orders, key: city}
          ratio:  {kind: map, input: by_city, set: {part: 100 / n}}
          gate:   {kind: approval, input: ratio}
          good:   {kind: sink, input: gate.approved, topic: good}
          w:      {kind: window, input: ratio, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}}
        """
    )
)


def _order(number: int) -> dict[str, Any]:
    """Some without an id, without a city (dead at by_city), with n = 0 (dead at ratio), with n > 10 (a second piece)."""
    return {
        "time": 1_000 + number,
        "id": f"o{number}" if number % 4 else None,
        "shop": f"s{number % 3}",
        "city": None if number % 5 == 0 else f"c{number % 2}",
        "n": (0, 5, 20)[number % 3],
        "card": "4111",
    }


def _model(order: dict[str, Any]) -> dict[str, Any]:
    """State and counts of an execution that was approved, if it came to be."""
    rows, dead = int(order["n"] > 10), 0
    if order["city"] is None or order["n"] == 0:
        dead = 1
    else:
        rows += 1
    return {"state": "failed" if dead else "completed", "rows": rows, "dead": dead}


def _events(driver: Driver) -> list[dict[str, Any]]:
    return [orjson.loads(record.value or b"") for record in driver.records(EVENTS)]


def _table(driver: Driver) -> ExecutionTable:
    table = ExecutionTable()
    for event in _events(driver):
        table.add(event)
    return table


def _decide(driver: Driver) -> int:
    waiting = list(driver.table("gate"))
    for approval in waiting:
        driver.decide("gate", approval, "approve", "ann")
    driver.run()
    return len(waiting)


@pytest.mark.parametrize(
    ("partitions", "chunk", "fused", "detail", "crashes"),
    list(
        itertools.product(
            (1, 3),
            (1, 100),
            (True, False),
            (Detail.LIFECYCLE, Detail.EVERY),
            ({}, {2: CrashPoint.BEFORE_COMMIT, 4: CrashPoint.BEFORE_STORE}),
        )
    ),
)
def test_every_execution_is_told_of_from_its_start_to_its_end(
    partitions: int, chunk: int, fused: bool, detail: Detail, crashes: dict[int, CrashPoint]
) -> None:
    shape: dict[str, Any] = {"partitions": partitions, "chunk_size": chunk, "fused": fused, "checkpoint_every": 2}
    driver = Driver(_PLAN, events=detail, **shape)
    driver.crash_at = dict(crashes)
    orders = {order["id"]: order for order in map(_order, range(60)) if order["id"]}
    driver.publish("in", [_order(number) for number in range(60)])
    driver.run()
    table = _table(driver)
    for name, order in orders.items():
        row, waits = table.row(name), order["city"] is not None and order["n"] > 0
        assert row is not None
        assert (row["state"], row["waiting"]) == (("paused", 1) if waits else ("failed", 0))
    assert sum(row["state"] == "paused" for row in orjson.loads(table.encode())["rows"].values()) > 20
    driver.crash()
    _decide(driver)
    rows = orjson.loads(_table(driver).encode())["rows"]
    assert rows.keys() == orders.keys(), "others are not followed"
    for name, order in orders.items():
        row, wanted = rows[name], _model(order)
        totals = row["totals"]
        assert (row["state"], totals["rows"], totals["dead"]) == (wanted["state"], wanted["rows"], wanted["dead"])
        assert (row["pieces"], row["waiting"], row["refused"], row["key"]) == (0, 0, 0, order["shop"])
        assert row["started"] <= row["ended"]
    plain = Driver(_PLAN, **shape)
    plain.publish("in", [_order(number) for number in range(60)])
    plain.run()
    if not crashes:
        assert [r.value for r in driver.records("large")] == [r.value for r in plain.records("large")]


@pytest.mark.parametrize(
    ("partitions", "chunk", "fused", "detail", "crashes"),
    [
        (1, 100, True, Detail.LIFECYCLE, {}),
        (3, 1, False, Detail.EVERY, {2: CrashPoint.BEFORE_COMMIT, 9: CrashPoint.BEFORE_STORE}),
        (3, 7, True, Detail.EVERY, {3: CrashPoint.BEFORE_STORE, 8: CrashPoint.BEFORE_COMMIT}),
    ],
)
def test_a_cancelled_execution_ends_wherever_its_rows_are(
    partitions: int, chunk: int, fused: bool, detail: Detail, crashes: dict[int, CrashPoint]
) -> None:
    driver = Driver(_PLAN, events=detail, partitions=partitions, chunk_size=chunk, fused=fused, checkpoint_every=2)
    driver.crash_at = dict(crashes)
    orders = {order["id"]: order for order in map(_order, range(60)) if order["id"]}
    early, late = list(orders)[::5], list(orders)[1::5]
    for name in early:
        driver.cancel(name, "ordered twice")
    driver.publish("in", list(orders.values()))
    driver.run()
    for name in late:
        driver.cancel(name, "no longer wanted")
    driver.idle()
    driver.crash()
    _decide(driver)
    table = _table(driver)
    for event in _events(driver):
        checked(event["type"], event["data"])
    for name, order in orders.items():
        row, wanted = table.row(name), _model(order)
        assert row is not None
        states = {each["node"]: each["state"] for each in row["nodes"]}
        waited = order["city"] is not None and order["n"] > 0
        if name in early:
            assert (row["state"], row["reason"], row["totals"]["rows"]) == ("cancelled", "ordered twice", 0)
            assert states == {"large": "cancelled", "by_city": "cancelled"}
        elif name in late and waited:
            assert (row["state"], row["reason"]) == ("cancelled", "no longer wanted")
            assert (row["totals"]["rows"], states["gate"]) == (wanted["rows"] - 1, "cancelled")
        else:
            assert (row["state"], row["totals"]["rows"]) == (wanted["state"], wanted["rows"])
        assert (row["pieces"], row["waiting"], row["refused"]) == (0, 0, 0)
    approved = {row["id"] for row in driver.output("good")}
    expected = {name for name, order in orders.items() if order["city"] is not None and order["n"] > 0}
    assert approved == expected - {*early, *late}
    assert driver.table("gate") == {}


def test_the_timeline_has_every_node_with_its_rows_masked_and_bounded() -> None:
    driver = Driver(_PLAN, events=Detail.EVERY, secret_fields=frozenset({"card"}))
    driver.publish("in", [_order(number) | {"id": f"o{number}"} for number in (2, 10)])
    driver.run()
    _decide(driver)
    row = _table(driver).row("o2")
    assert row is not None
    nodes = {each["node"]: each for each in row["nodes"]}
    walked = ["orders", "large", "shown", "out", "by_city", "ratio", "w", "gate", "gate.approved", "good"]
    assert list(nodes) == walked
    assert nodes["orders"]["input"] == {**_order(2), "card": "***"}
    assert nodes["shown"]["outputs"] == [{**_order(2), "card": "***", "double": 40}]
    assert (nodes["large"]["rows_in"], nodes["large"]["rows_out"]) == (1, 1)
    begun = ["pending", "queued", "running"]
    assert [state for state, _ in nodes["ratio"]["moves"]] == [*begun, "completed"]
    assert [state for state, _ in nodes["gate"]["moves"]] == [*begun, "paused", "running", "completed"]
    assert (nodes["gate"]["state"], nodes["gate"]["reason"]) == ("completed", "approved")
    assert all(each["started"] for name, each in nodes.items() if name != "gate")
    failed = _table(driver).row("o10")
    assert failed is not None
    assert (failed["state"], failed["reason"]) == ("failed", "null_key")
    by_city = next(each for each in failed["nodes"] if each["node"] == "by_city")
    assert (by_city["state"], by_city["reason"]) == ("failed", "null_key")
    assert "4111" not in str([event["data"] for event in _events(driver)])


@pytest.mark.parametrize("detail", [Detail.LIFECYCLE, Detail.EVERY])
def test_what_failed_is_told_without_the_secrets_that_it_repeats(detail: Detail) -> None:
    text = """
        topology: t
        schemas: {Order: {time: timestamp, id: str, card: str secret}}
        nodes:
          orders: {kind: source, topic: in, schema: Order, event_time: time, key: id, execution_id: id}
          wrong:  {kind: map, input: orders, set: {number: int(card)}}
          out:    {kind: sink, input: wrong, topic: out}
        """
    driver = Driver(make_plan(parse_topology(text)), events=detail, secret_fields=frozenset({"card"}))
    driver.publish("in", [{"time": 1, "id": "o1", "card": "visa 4111"}])
    driver.run()
    row = _table(driver).row("o1")
    assert row is not None
    (error,) = [each["error"] for each in row["nodes"] if each["state"] == "failed"]
    assert "***" in error
    assert "4111" not in str([event["data"] for event in _events(driver)])


@pytest.mark.parametrize("detail", [Detail.LIFECYCLE, Detail.SAMPLED, Detail.EVERY])
def test_events_fit_their_models_and_have_ids_of_their_own(detail: Detail) -> None:
    driver = Driver(_PLAN, events=detail, partitions=2)
    driver.publish("in", [_order(number) for number in range(300)])
    driver.run()
    _decide(driver)
    events = [BusEvent.decode(record.value or b"") for record in driver.records(EVENTS)]
    assert len({(event.source, event.id) for event in events}) == len(events)
    told = [event for event in events if "execution" in event.data]
    for event in told:
        schema, data = checked(event.type, event.data)  # type: ignore[arg-type]
        assert (schema, event.partitionkey) == (event.dataschema, event.data["execution"])
        assert data["stage"] in {stage.name for stage in _PLAN.stages}
    seen = {event.data["execution"] for event in told if event.subject == "t/orders"}
    ids = {f"o{number}" for number in range(300) if number % 4}
    assert {Detail.LIFECYCLE: not seen, Detail.SAMPLED: 0 < len(seen) < 20, Detail.EVERY: seen == ids}[detail]
    kinds = Counter(event.type for event in told)
    assert kinds["EXECUTION_STARTED"] == len(ids)


def test_what_came_to_no_node_is_told_of_as_failed() -> None:
    """A value that does not decode, and an event too far ahead of its record."""
    driver = Driver(_PLAN, events=Detail.EVERY)
    driver.publish("in", [b"no row"], correlation="broken")
    driver.publish("in", [{**_order(1), "time": 10**13}], correlation="far")
    driver.publish("in", [_order(2)])
    driver.run()
    assert [each["sf-node"] for each in driver.dead_letters()] == ["orders", "orders"]
    table = _table(driver)
    for each in ("broken", "far"):
        row = table.row(each)
        assert row is not None
        assert row["state"] == "failed"


def test_off_says_nothing_and_an_id_in_the_header_comes_first() -> None:
    off, on = Driver(_PLAN), Driver(_PLAN, events=Detail.LIFECYCLE)
    for driver in (off, on):
        driver.publish("in", [_order(1)], correlation="mine")
        driver.run()
    assert off.records(EVENTS) == []
    assert _table(on).row("mine") is not None
    assert _table(on).row("o1") is None


def test_an_id_that_comes_again_joins_what_runs_and_begins_anew_behind_the_end() -> None:
    driver = Driver(_PLAN, events=Detail.LIFECYCLE)
    order = _order(1) | {"id": "x"}
    driver.publish("in", [order, order])
    driver.run()
    row = _table(driver).row("x")
    assert row is not None
    assert (row["state"], row["pieces"], row["waiting"], row["attempt"]) == ("paused", 2, 2, 1)
    assert _decide(driver) == 2
    driver.publish("in", [order])
    driver.run()
    again = _table(driver).row("x")
    assert again is not None
    assert (again["state"], again["attempt"], again["pieces"]) == ("paused", 2, 1)


def test_who_waits_for_an_event_waits_for_its_approval_too() -> None:
    driver = Driver(_PLAN)
    awaited = f"{1:011x}-{1:032x}"
    driver.publish("in", [_order(2)], correlation=awaited)
    driver.run()
    assert driver.outcome(awaited).missing == 1
    _decide(driver)
    outcome = driver.outcome(awaited)
    assert outcome.status == "done"
    assert sorted(row["topic"] for row in outcome.rows) == ["good", "large"]


def test_a_table_is_bounded_and_takes_nothing_twice() -> None:
    driver = Driver(_PLAN, events=Detail.LIFECYCLE)
    driver.publish("in", [_order(number) for number in range(200)])
    driver.run()
    events = _events(driver)
    bounded, twice = ExecutionTable(20), ExecutionTable()
    for event in events:
        bounded.add(event)
        twice.add(event)
        twice.add(event)
    kept, whole = (orjson.loads(table.encode())["rows"] for table in (bounded, twice))
    assert (len(kept), bounded.left_out) == (20, 130)
    assert kept.items() <= whole.items()
    assert twice.encode() == _table(driver).encode()
