"""What is read first when there is a backlog."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from streamflow.plan.critical_path import critical_path
from streamflow.plan.planner import make_plan
from streamflow.runtime.execution_order import BACKLOG, ExecutionOrder
from streamflow.runtime.hooks.faust_app import ChunkConsumer
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Event: {id: int, k: str}}
nodes:
  plain:   {kind: source, topic: plain, schema: Event}
  heavy:   {kind: map, input: plain, set: {id: id * 2}}
  heavies: {kind: sink, input: heavy, topic: heavies}
  parted:  {kind: source, topic: parted, schema: Event}
  by_k:    {kind: key_by, input: parted, key: k}
  counts:  {kind: echo, input: by_k, table: counts}
  counted: {kind: sink, input: counts, topic: counted}
  slow:    {kind: source, topic: slow, schema: Event}
  asked:   {kind: http_request, input: slow, url: "https://e.x/1", response: {a: int}}
  answers: {kind: sink, input: asked, topic: answers}
"""


def test_the_way_with_more_calls_then_the_one_with_more_hops_is_longer() -> None:
    lengths = critical_path(make_plan(parse_topology(_TOPOLOGY)))
    ordered = sorted(lengths, key=lambda topic: -lengths[topic])
    assert ordered[:3] == ["slow", "t.asked.queue", "parted"]
    assert lengths["plain"] == lengths["t.by_k.repartition"] == 1


def test_a_backlog_of_the_longest_way_holds_others_back_for_most_of_the_time() -> None:
    order = ExecutionOrder({"long": 2, "short": 1})
    active = {("long", 0), ("short", 0), ("short", 1)}
    waits = {("long", 0): BACKLOG + 1}
    seen = [order.first(active, lambda place: waits.get(place, 10**9), tenth / 10) for tenth in range(10)]
    assert seen == [{("long", 0)}] * 8 + [active] * 2, "nothing starves"
    waits[("long", 0)] = BACKLOG
    assert order.first(active, lambda place: waits.get(place, 10**9), 0) == active, "no backlog, or no longer way"
    assert order.first({("short", 0)}, lambda place: 10**9, 0) == {("short", 0)}, (
        "somebody who is not there holds nobody"
    )


async def _behind(highwater: int, stable: int) -> int:
    place, subscription = TP("slow", 0), SubscriptionState()
    subscription.assign_from_user([place])
    subscription.seek(place, 100)
    assert subscription.subscription is not None
    state = subscription.subscription.assignment.state_value(place)
    state.highwater, state.lso = highwater, stable
    reads: Any = SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(_subscription=subscription))
    consumer: Any = SimpleNamespace(_thread=reads)
    return ChunkConsumer._behind(consumer, place)


def test_what_an_open_transaction_hides_is_no_backlog() -> None:
    assert asyncio.run(_behind(50_000, 50_000)) == 49_900
    assert asyncio.run(_behind(50_000, 100)) == 0, "nobody can read it, so nobody is to wait for it"
