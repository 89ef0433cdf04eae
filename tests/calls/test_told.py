"""What the bus says of calls: asked, found among what was kept, tried again, stood in for, failed; each execution in order."""

from typing import Any

import orjson

from streamflow.bus.detail import Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.model.outcome import new_execution
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, Driver
from streamflow.topology.document import spec_of
from tests.calls.callers import LOCAL
from tests.calls.server import Server

#: What is asked for, and what the bus says of the node: state, what helped, whether the answer was kept, attempt.
_CASES: list[tuple[str, tuple[str, str, bool, int]]] = [
    ("ok/1", ("completed", "", False, 1)),
    ("ok/1", ("completed", "", True, 1)),
    ("fail/503/1/2", ("completed", "retry", False, 2)),
    ("status/500", ("completed", "fallback", False, 2)),
    ("../1", ("failed", "", False, 1)),
]


def _driver(url: str) -> Driver:
    asked: dict[str, Any] = {
        "kind": "http_request",
        "input": "s",
        "url": url + "/{what.0}/{what.1}/{what.2|0}/{what.3|0}",
        "response": {"double": "int"},
        "resilience": {"cache": {}, "retry": {"attempts": 2, "base": 1}, "fallback": {"double": -1}},
    }
    nodes = {
        "s": {"kind": "source", "topic": "in", "schema": "E"},
        "asked": asked,
        "out": {"kind": "sink", "input": "asked", "topic": "out"},
    }
    plan = make_plan(spec_of({"topology": "t", "schemas": {"E": {"what": "json"}}, "nodes": nodes}))
    return Driver(plan, events=Detail.EVERY, outside=LOCAL)


def test_each_way_that_a_call_can_go_is_told_in_order(server: Server) -> None:
    driver, executions = _driver(server.url), [new_execution() for _ in _CASES]
    for me, (what, _) in zip(executions, _CASES, strict=True):
        driver.publish("in", [{"what": what.split("/")}], correlation=me)
        driver.run()
    driver.close()
    table, told = ExecutionTable(), [orjson.loads(record.value or b"") for record in driver.records(EVENTS)]
    for event in told:
        table.add(event)
    for me, (what, expected) in zip(executions, _CASES, strict=True):
        row = table.row(me)
        assert row is not None
        node = next(each for each in row["nodes"] if each["node"] == "asked")
        found = node["state"], node.get("recovered", ""), node.get("from_cache", False), node.get("attempt", 1)
        assert found == expected, what
        mine = [each["type"] for each in told if each.get("correlationid") == me]
        assert (mine[0], mine[-1], {*mine[1:-1]}) == (
            "EXECUTION_STARTED",
            "EXECUTION_COMPLETED",
            {"NODE_STATE_CHANGED"},
        )
    assert server.requests == {"/ok/1/0/0": 1, "/fail/503/1/2": 2, "/status/500/0/0": 2}
