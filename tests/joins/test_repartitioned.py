"""Joins whose inputs are partitioned otherwise: the orders topology, and inputs with other numbers of partitions."""

import random
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.plan.describe import describe
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology
from tests.joins.runs import RUNS, Run, run

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "orders" / "topology.yaml"
MINUTE = 60_000


def _streams(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Orders and payments in disorder of less than the five seconds that the sources allow."""
    chance = random.Random(seed)
    orders: list[dict[str, Any]] = [
        {
            "order_id": f"o{n}",
            "time": MINUTE * n + chance.randrange(5_000),
            "customer": f"c{n % 40}",
            "amount": float(n),
        }
        for n in range(150)
    ]
    payments = [
        {"payment_id": f"p{n}", "order_id": order["order_id"], "paid": order["amount"],
         "time": order["time"] + chance.choice([-90_000, -MINUTE, 0, 10 * MINUTE, 60 * MINUTE, 61 * MINUTE])}
        for n, order in enumerate(orders) if chance.random() < 0.7
    ]  # fmt: skip
    return {"orders.orders": orders, "orders.payments": sorted(payments, key=lambda each: each["time"])}


def _check(driver: Driver, streams: dict[str, list[dict[str, Any]]]) -> None:
    orders = {order["order_id"]: order for order in streams["orders.orders"]}
    paid = {
        payment["payment_id"]
        for payment in streams["orders.payments"]
        if -MINUTE <= payment["time"] - orders[payment["order_id"]]["time"] <= 60 * MINUTE
    }
    assert sorted(row["payment_payment_id"] for row in driver.output("orders.paid")) == sorted(paid)
    settled = {row["order_id"] for row in driver.output("orders.paid")}
    unpaid = [row["order_id"] for row in driver.output("orders.unpaid")]
    assert len(unpaid) == len(set(unpaid))
    assert not settled.intersection(unpaid)
    assert driver.output("orders.late") == []
    assert driver.dead_letters() == []
    # Every partition of both topics has events up to the last minutes, so all but the last hour is decided.
    decided = {name for name, order in orders.items() if order["time"] < MINUTE * 70}
    assert decided - settled <= set(unpaid)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), RUNS)
def test_orders_meet_their_payments_across_repartitions(seed: int, shape: Run) -> None:
    """By order, whatever the topics are partitioned by; nothing is late that its source was not late for."""
    streams = _streams(seed)
    _check(run(TOPOLOGY.read_text(), streams, shape, now_ms=200 * MINUTE), streams)


def test_the_plan_tells_of_the_repartitions() -> None:
    notes = describe(make_plan(load_topology(TOPOLOGY)))["notes"]
    assert notes[:2] == [
        "settled: rows of orders are repartitioned by order_id (settled_orders_key), because their key is customer",
        "settled: rows of payments are repartitioned by order_id (settled_payments_key), because their key is payment_id",
    ]


def test_inputs_with_other_numbers_of_partitions_are_brought_to_the_most() -> None:
    """Only the input with fewer travels; without declared numbers nothing does."""
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}, B: {t: timestamp, k: str, v: int}}
nodes:
  a: {kind: source, topic: a, schema: A, event_time: t, key: k, partitions: 2}
  b: {kind: source, topic: b, schema: B, event_time: t, key: k, partitions: 6}
  j: {kind: join, inputs: [a, b], within: 1s, fields: {k: a.k, v: b.v}}
  o: {kind: sink, input: j, topic: out}
"""
    plan = make_plan(parse_topology(text))
    assert plan.repairs == (
        "j: rows of a are repartitioned by k (j_a_key), because their topic has 2 partitions, not 6",
    )
    undeclared = make_plan(parse_topology(text.replace(", partitions: 2", "").replace(", partitions: 6", "")))
    assert undeclared.repairs == ()
    assert [stage.input_topics for stage in undeclared.stages] == [("a", "b")]


def test_a_field_that_was_computed_anew_is_another_key() -> None:
    """The map's `k` is not the `k` that the topic is partitioned by."""
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}, B: {t: timestamp, k: str, v: int}}
nodes:
  a: {kind: source, topic: a, schema: A, event_time: t, key: k}
  b: {kind: source, topic: b, schema: B, event_time: t, key: k}
  m: {kind: map, input: a, set: {k: upper(k)}}
  j: {kind: join, inputs: [m, b], on: k, within: 1s, fields: {k: m.k, v: b.v}}
  o: {kind: sink, input: j, topic: out}
"""
    driver = run(text, {"a": [{"t": 1, "k": "x"}], "b": [{"t": 1, "k": "X", "v": 3}]}, Run(3, 10, True, 1, 0, ()))
    assert driver.output("out") == [{"k": "X", "v": 3}]
    assert [repair.split(" (")[0] for repair in driver.plan.repairs] == ["j: rows of m are repartitioned by k"]
