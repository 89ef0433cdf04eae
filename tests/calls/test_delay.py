"""Rows wait as long as they should, in their order, and the watermark with them."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from streamflow.calls.caller import Outside
from streamflow.calls.guarded import GuardedCaller
from streamflow.checkpoint.progress import NO_TIME, Progress
from streamflow.engine.async_entry import AsyncEntry
from streamflow.engine.program import compile_stage
from streamflow.engine.task import Task
from streamflow.model.chunk import Chunk, Mark, Run
from streamflow.nodes.operators import Await
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.state.memory import MemoryStore
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology
from tests.calls.test_waiting import numbers, unpaced, until

_TOPOLOGY = """
topology: t
schemas: {Asked: {t: timestamp, shop: str, number: int}}
nodes:
  s: {kind: source, topic: in, schema: Asked, event_time: t, key: shop}
  a: {kind: delay, input: s, by: 300ms}
  o: {kind: sink, input: a, topic: out}
  w: {kind: window, input: a, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}}
"""
PLAN = make_plan(parse_topology(_TOPOLOGY))


def _chunk(written_ms: Sequence[int], marks: list[Mark]) -> Chunk:
    values: list[bytes | None] = [msgspec.json.encode([n, n, "a", n, "a"]) for n in range(len(written_ms))]
    runs = [Run(number, number, at) for number, at in enumerate(written_ms)]
    return Chunk("t.a.queue", 0, values, runs, len(values), marks=marks)


def test_rows_leave_when_their_time_has_come() -> None:
    async def run() -> None:
        stage = PLAN.stages[1]
        counts = {topic.name: 1 for topic in PLAN.topics}
        program = compile_stage(stage, PLAN)
        task = Task(program, 0, store=MemoryStore(), partition_counts=counts, progress=Progress(), now_ms=0)
        operator = next(node.operator for node in stage.nodes if isinstance(node.operator, Await))
        guarded = GuardedCaller(operator.action.make("a", Outside()), operator.policy)
        waiting = AsyncEntry(task, 0, "a", guarded, operator, "t")
        serving = asyncio.create_task(waiting.serve(unpaced))
        now_ms = int(time.time() * 1_000)
        marks = [Mark(at, b'{"producer":0,"watermark":%d,"idle":false}' % at) for at in (2, 3)]
        waiting.offer(_chunk([0, now_ms, now_ms + 200], marks))
        await until(lambda: task.positions.get(("t.a.queue", 0)) == 1)
        assert (numbers(task), task.watermark_ms) == ([0], NO_TIME), "written long ago; the watermark waits"
        await until(lambda: task.positions["t.a.queue", 0] == 2)
        assert time.time() * 1_000 >= now_ms + 300
        assert task.watermark_ms == 2, "what lies between two rows does not wait for the second"
        await until(lambda: task.positions["t.a.queue", 0] == 3)
        assert time.time() * 1_000 >= now_ms + 500
        assert (numbers(task), task.watermark_ms) == ([1, 2], 3)
        serving.cancel()

    asyncio.run(run())


def test_a_delay_changes_no_row() -> None:
    driver = Driver(bounded(PLAN))
    rows = [{"t": number, "shop": "ab"[number % 2], "number": number} for number in range(50)]
    driver.publish("in", rows)
    driver.finish()
    driver.close()
    assert driver.output("out") == rows
    assert sum(row["n"] for row in driver.table("w").values()) == 50
