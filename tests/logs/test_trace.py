"""Log lines know the trace, the task and the node that they belong to."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from streamflow.logs.place import PROCESS, at
from streamflow.logs.setup import JsonFormatter
from streamflow.logs.trace import in_trace
from streamflow.model.partitioner import partition_of
from streamflow.model.trace_context import TraceContext
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_PLAN = bounded(
    make_plan(
        parse_topology(
            """
topology: t
schemas: {Told: {t: timestamp, k: str, n: int}}
nodes:
  s:       {kind: source, topic: in, schema: Told, event_time: t, key: k}
  large:   {kind: filter, input: s, where: n > 1}
  looked:  {kind: python, input: large, call: "tests.logs.telling:looked_at"}
  waiting: {kind: process, input: looked, call: "tests.logs.telling:Waiting"}
  asked:   {kind: python, input: s, call: "tests.logs.telling:asked"}
  out:     {kind: sink, input: waiting, topic: out}
  answers: {kind: sink, input: asked, topic: answers}
"""
        )
    )
)


def _line() -> dict[str, str]:
    record = logging.LogRecord("streamflow.x", logging.INFO, "x.py", 1, "said", None, None)
    return dict(json.loads(JsonFormatter().format(record)))


def test_lines_of_a_trace_have_its_id_and_no_others_do() -> None:
    async def request(trace_id: str) -> tuple[str, str | None]:
        with in_trace(trace_id):
            await asyncio.sleep(0)
            inside = _line()["trace_id"]
        return inside, _line().get("trace_id")

    async def both() -> list[tuple[str, str | None]]:
        return list(await asyncio.gather(request("a"), request("b")))

    assert "trace_id" not in _line()
    assert asyncio.run(both()) == [("a", None), ("b", None)]
    assert set(_line()) == {"time", "level", "logger", "message"}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """JSON lines of the code of nodes."""
    said, log = io.StringIO(), logging.getLogger("tests.logs.telling")
    handler, level = logging.StreamHandler(said), log.level
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield said
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.parametrize("fused", [True, False])
def test_lines_of_a_node_have_its_name_and_task_wherever_its_code_writes_them(lines: io.StringIO, fused: bool) -> None:
    driver = Driver(_PLAN, partitions=2, fused=fused)
    span = TraceContext.new()
    driver.publish("in", [{"t": 0, "k": "a", "n": 1}, {"t": 1, "k": "a", "n": 2}])
    driver.publish("in", [{"t": 2, "k": "c", "n": 3}], trace=span)
    of_a, of_c = (partition_of(key, 2) for key in (b"a", b"c"))
    driver.finish()
    driver.close()

    found: list[dict[str, Any]] = [json.loads(line) for line in lines.getvalue().splitlines()]
    said = sorted((line["message"], line["task"], line["node"], line.get("trace_id")) for line in found)
    stage = next(stage.name for stage in _PLAN.stages if any(node.name == "asked" for node in stage.nodes))
    wanted = [
        ("a coroutine saw 1", f"{stage}/{of_a}", "asked", None),
        ("a coroutine saw 2", f"{stage}/{of_a}", "asked", None),
        ("a coroutine saw 3", f"{stage}/{of_c}", "asked", span.trace_id),
        ("a function saw 2", f"s/{of_a}", "looked", None),
        ("a function saw 3", f"s/{of_c}", "looked", span.trace_id),
        ("a process saw 2", f"s/{of_a}", "waiting", None),
        ("a process saw 3", f"s/{of_c}", "waiting", span.trace_id),
        ("a timer", f"s/{of_c}", "waiting", None),
        ("a timer", f"s/{of_a}", "waiting", None),
    ]
    assert said == sorted(wanted)


def test_a_line_says_where_it_belongs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROCESS, "topology", "flights")
    record = logging.makeLogRecord({"msg": "x", "node": "hourly", "password": "hidden", "args": ()})
    with at({"task": "s/1"}):
        line = json.loads(JsonFormatter().format(record))
    assert {key: line[key] for key in ("topology", "task", "node")} == {
        "topology": "flights",
        "task": "s/1",
        "node": "hourly",
    }
    assert line.keys() == {"time", "level", "logger", "message", "topology", "task", "node"}
