"""Rows in the middle of a chain are not made; nobody can tell."""

import math
from typing import Any

import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Reading: {t: timestamp, k: str, kind: str, value: float, n: int, rest: float?}}
nodes:
  s:      {kind: source, topic: in, schema: Reading, event_time: t, key: k}
  more:   {kind: map, input: s, set: {value: value * 1e300, n: n + 1, rest: rest * 2 if rest is not None else None}}
  even:   {kind: filter, input: more, where: n % 2 == 0}
  back:   {kind: map, input: even, set: {value: value / 1e300, n: n * 3000000000, kind: '"x" if value > 0 else kind'}}
  all:    {kind: sink, input: back, topic: all}
  high:   {kind: filter, input: back, where: value > 1}
  third:  {kind: map, input: high, set: {value: value / 3}}
  thirds: {kind: sink, input: third, topic: thirds}
"""
_EVENTS: list[dict[str, Any]] = [
    {"t": n, "k": "ключ" if n % 5 else "b", "kind": "a", "value": value, "n": n * step, "rest": rest}
    for n, (value, step, rest) in enumerate(
        (value, step, rest)
        for value in (-1.0, 0.0, 1.0, 2.5, 1e300)
        for step in (1, 3, 10**9 + 1)
        for rest in (None, 1.5, 1.7e308)
    )
]


def _model() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    rows, thirds, failed = [], [], []
    for event in _EVENTS:
        value, n, rest = event["value"] * 1e300, event["n"] + 1, event["rest"] and event["rest"] * 2
        if math.isinf(value) or math.isinf(rest or 0):
            failed.append("more")
        elif n % 2 == 0 and n * 3_000_000_000 >= 2**63:
            failed.append("back")
        elif n % 2 == 0:
            kind = "x" if value > 0 else "a"
            rows.append(event | {"value": value / 1e300, "n": n * 3_000_000_000, "kind": kind, "rest": rest})
            if rows[-1]["value"] > 1:
                thirds.append(rows[-1] | {"value": rows[-1]["value"] / 3})
    return rows, thirds, failed


@pytest.mark.parametrize("fused", [True, False])
def test_rows_and_letters_of_a_chain_are_those_of_its_nodes_one_by_one(fused: bool) -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY)), fused=fused, chunk_size=7, partitions=2)
    driver.publish("in", _EVENTS, key="k")
    driver.run()
    for topic, rows in zip(("all", "thirds"), _model(), strict=False):
        assert sorted(driver.output(topic), key=lambda row: row["t"]) == rows
        assert rows
        assert all(
            (record.key or b"").decode() == row["k"]
            for record, row in zip(driver.records(topic), driver.output(topic), strict=True)
        )
    letters = [letter["sf-node"] for letter in driver.dead_letters()]
    assert sorted(letters) == sorted(_model()[2])
    assert {"more", "back"} == set(letters)
