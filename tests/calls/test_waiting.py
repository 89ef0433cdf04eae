"""Rows that wait for calls: a thousand in one process, what a stop leaves, what never ends."""

import asyncio
import resource
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamflow.calls import guarded as guarded_module
from streamflow.calls.caller import Origin
from streamflow.calls.guarded import GuardedCaller, WorkerLacks
from streamflow.calls.policy import BreakerPlan, Policy, Retry
from streamflow.checkpoint.progress import Progress
from streamflow.engine.async_entry import MAX_WAITING, AsyncEntry
from streamflow.engine.program import compile_stage
from streamflow.engine.task import Task
from streamflow.model.chunk import Chunk, Run
from streamflow.nodes.operators import Await
from streamflow.plan.planner import make_plan
from streamflow.state.memory import MemoryStore
from streamflow.topology.yaml_file import parse_topology
from tests.calls.callers import origin
from tests.calls.functions import Answered

PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {Asked: {t: timestamp, shop: str, number: int, wait_ms: int}}
nodes:
  s: {kind: source, topic: in, schema: Asked, event_time: t}
  a: {kind: python, input: s, call: "tests.calls.functions:patient", concurrency: 1000}
  o: {kind: sink, input: a, topic: out}
""")
)
STAGE = PLAN.stages[1]
OPERATOR = next(node.operator for node in STAGE.nodes if isinstance(node.operator, Await))


class Scripted:
    """A caller that does what a test says, row by row."""

    result_type: Any = list[Answered]

    def __init__(self) -> None:
        self.gates: dict[int, asyncio.Event] = {}
        self.errors: dict[int, list[Exception]] = {}
        self.asked: list[int] = []
        self.deaf = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def rows(self, row: Any, result: Any) -> Sequence[Any]:
        return list(result)

    async def call(self, row: Any, place: Origin) -> Any:
        self.asked.append(row.number)
        while self.deaf:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
        if row.number in self.gates:
            await self.gates[row.number].wait()
        if self.errors.get(row.number):
            raise self.errors[row.number].pop(0)
        return [Answered(row.number, row.shop, place.offset)]

    def target(self, row: Any) -> str:
        return "target"

    def fallback(self, row: Any, values: Any) -> Any:
        return Answered(**values)

    def digest(self, row: Any) -> bytes:
        return msgspec.json.encode(row.number)


def task() -> Task:
    program = compile_stage(STAGE, PLAN)
    counts = {topic.name: 1 for topic in PLAN.topics} | {PLAN.dead_letter_topic: 1}
    return Task(program, 0, store=MemoryStore(), partition_counts=counts, progress=Progress(), now_ms=0)


def chunk(start: int, count: int) -> Chunk:
    values: list[bytes | None] = [msgspec.json.encode([n, n, "a", n, 0]) for n in range(start, start + count)]
    return Chunk("t.a.queue", 0, values, [Run(0, start, 0)], start + count, position=start, size_bytes=count * 20)


def entry(made: Task, caller: Scripted, capacity: int = 100, **policy: Any) -> AsyncEntry:
    guarded = GuardedCaller(caller, Policy(**{"timeout_ms": 60_000, **policy}))
    return AsyncEntry(made, 0, "a", guarded, replace(OPERATOR, capacity=capacity), "t")


async def unpaced() -> None:
    """What a task does between steps: nothing."""


async def settled() -> None:
    """Everything that can move has moved."""
    for _ in range(200):
        await asyncio.sleep(0)


async def until(what: Callable[[], object]) -> None:
    for _ in range(6_000):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass within a minute")


def numbers(made: Task) -> list[int]:
    checkpoint = made.take_checkpoint(0)
    if checkpoint is None:
        return []
    made.committed(checkpoint.sequence)
    return [msgspec.json.decode(value or b"")["number"] for _, value, _ in checkpoint.outputs.get(("out", 0), [])]


def test_the_position_is_that_of_the_first_row_without_an_answer() -> None:
    async def run() -> None:
        made, caller = task(), Scripted()
        caller.gates[3] = asyncio.Event()
        waiting = entry(made, caller, capacity=5)
        serving = asyncio.create_task(waiting.serve(unpaced))
        waiting.offer(chunk(0, 10))
        waiting.offer(chunk(10, 10))
        await settled()
        assert made.positions["t.a.queue", 0] == 3
        assert numbers(made) == [0, 1, 2]
        assert sorted(caller.asked) == list(range(8)), "row 3 and four behind it are as many as may be asked for"
        assert (waiting.next_offset, waiting.waiting_count) == (20, 17)
        waiting.offer(chunk(0, 20))
        assert waiting.waiting_count == 17, "what waits already does not wait twice"
        caller.gates[3].set()
        await settled()
        assert made.positions["t.a.queue", 0] == 20
        assert numbers(made) == list(range(3, 20))
        serving.cancel()

    asyncio.run(run())


def test_a_stop_processes_what_is_answered_and_forgets_the_rest() -> None:
    async def run() -> None:
        made, caller = task(), Scripted()
        caller.gates = {2: asyncio.Event(), 5: asyncio.Event()}
        waiting = entry(made, caller, capacity=8)
        serving = asyncio.create_task(waiting.serve(unpaced))
        waiting.offer(chunk(0, 20))
        await settled()
        serving.cancel()
        asyncio.get_running_loop().call_later(0.05, caller.gates[2].set)
        await waiting.stop(grace_s=0.5)
        assert made.positions["t.a.queue", 0] == 5, "the call for row 2 had time to end, that for row 5 had not"
        assert numbers(made) == [0, 1, 2, 3, 4]
        assert (waiting.under_way, waiting.waiting_count) == (0, 0)
        waiting.offer(chunk(5, 5))
        assert waiting.waiting_count == 0

    asyncio.run(run())


def test_nodes_that_do_not_wait_for_each_other_call_at_the_same_time() -> None:
    """Three of them, in three stages: each call ends when all three are under way."""

    class Together(Scripted):
        async def call(self, row: Any, place: Origin) -> Any:
            await barrier.wait()
            return await super().call(row, place)

    async def run() -> None:
        made = [task() for _ in range(3)]
        entries = [entry(each, Together()) for each in made]
        serving = [asyncio.create_task(each.serve(unpaced)) for each in entries]
        for each in entries:
            each.offer(chunk(0, 1))
        await until(lambda: not any(each.waiting_count for each in entries))
        assert [numbers(each) for each in made] == [[0]] * 3
        for loop in serving:
            loop.cancel()

    barrier = asyncio.Barrier(3)
    asyncio.run(run())


def test_a_thousand_rows_wait_in_one_process_without_a_thread() -> None:
    async def run() -> None:
        made, caller = task(), Scripted()
        gate = asyncio.Event()
        caller.gates = dict.fromkeys(range(5_000), gate)
        waiting = entry(made, caller, capacity=1_000)
        serving = asyncio.create_task(waiting.serve(unpaced))
        threads = threading.active_count()
        waiting.offer(chunk(0, 5_000))
        await settled()
        assert (waiting.under_way, threading.active_count()) == (1_000, threads)
        full = [waiting.is_full]
        waiting.offer(chunk(5_000, MAX_WAITING))
        full.append(waiting.is_full)
        assert full == [False, True]
        gate.set()
        await until(lambda: not waiting.waiting_count)
        assert numbers(made) == list(range(5_000 + MAX_WAITING))
        serving.cancel()

    asyncio.run(run())


def test_a_thousand_calls_end_or_time_out_and_take_little_memory() -> None:
    async def run() -> None:
        made, caller = task(), Scripted()
        answered = asyncio.Event()
        caller.gates = {number: answered if number < 500 else asyncio.Event() for number in range(1_000)}
        waiting = entry(made, caller, capacity=1_000, timeout_ms=1_000, retry=Retry(attempts=1))
        before = _resident_bytes()
        serving = asyncio.create_task(waiting.serve(unpaced))
        waiting.offer(chunk(0, 1_000))
        await settled()
        assert _resident_bytes() - before < 50 << 20
        answered.set()
        await until(lambda: not waiting.waiting_count)
        dead = made.counters.dead["a", "timeout"]
        given = numbers(made)
        assert given == sorted(set(given) & set(range(500)))
        # On a machine that is busy some of those that could be answered time out too.
        assert (len(given) + dead, dead >= 500, waiting.under_way) == (1_000, True, 0)
        serving.cancel()

    asyncio.run(run())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_call_that_ignores_its_cancellation_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        caller = Scripted()
        caller.deaf = True
        guarded = GuardedCaller(caller, Policy(timeout_ms=10))
        row = PLAN.stages[0].entries[0].schema.row_type(t=0, shop="a", number=4, wait_ms=0)
        call = asyncio.create_task(guarded.answer(row, origin(17)))
        await until(guarded.stuck)
        assert [place.offset for place in guarded.stuck()] == [17]
        caller.deaf = False
        call.cancel()
        await asyncio.wait([call])
        assert not guarded.stuck()

    monkeypatch.setattr(guarded_module, "GRACE_S", 0.05)
    asyncio.run(run())


def test_attempts_pauses_and_classes_decide() -> None:
    row = PLAN.stages[0].entries[0].schema.row_type

    async def run() -> None:
        caller = Scripted()
        retry = Retry(attempts=3, base_ms=1, cap_ms=1)
        guarded = GuardedCaller(caller, Policy(retry=retry))
        caller.errors = {
            1: [ConnectionError("cut"), TimeoutError()],
            2: [ValueError("bad")],
            3: [ConnectionError("cut")] * 3,
            4: [OSError(24, "too many open files")],
        }
        answers = [await guarded.answer(row(t=0, shop="a", number=n, wait_ms=0), origin()) for n in (1, 2, 3)]
        assert [len(answer.rows) for answer in answers] == [1, 0, 0]
        assert [answer.error and answer.error.reason for answer in answers] == [None, "process", "unreachable"]
        assert caller.asked == [1, 1, 1, 2, 3, 3, 3]
        assert guarded.counts.faults == {"transient": 5, "permanent": 1}
        with pytest.raises(WorkerLacks, match="too many open files"):
            await guarded.answer(row(t=0, shop="a", number=4, wait_ms=0), origin())

    asyncio.run(run())


def test_an_open_circuit_fails_at_once_when_rows_do_not_wait_for_it() -> None:
    row = PLAN.stages[0].entries[0].schema.row_type

    async def run() -> None:
        caller = Scripted()
        caller.errors = {1: [ConnectionError("cut")] * 10}
        breaker = BreakerPlan(failures=2, open_ms=60_000, waits=False)
        values = {"number": -1, "shop": "?", "half": 0}
        guarded = GuardedCaller(caller, Policy(retry=Retry(attempts=1), breaker=breaker, fallback=values))
        made = [await guarded.answer(row(t=0, shop="a", number=1, wait_ms=0), origin()) for _ in range(5)]
        assert [answer.rows for answer in made] == [[Answered(-1, "?", 0)]] * 5
        assert caller.asked == [1, 1]
        assert guarded.counts.fallbacks == 5

    asyncio.run(run())


def test_waiting_for_a_target_costs_no_row_and_ends_when_it_is_back() -> None:
    row = PLAN.stages[0].entries[0].schema.row_type

    async def run() -> None:
        caller = Scripted()
        caller.errors = {n: [ConnectionError("cut")] for n in range(10)}
        breaker = BreakerPlan(failures=1, open_ms=5)
        guarded = GuardedCaller(caller, Policy(retry=Retry(attempts=2, base_ms=1, cap_ms=1), breaker=breaker))
        calls = [guarded.answer(row(t=0, shop="a", number=n, wait_ms=0), origin()) for n in range(50)]
        answers = await asyncio.gather(*calls)
        assert [len(answer.rows) for answer in answers] == [1] * 50

    asyncio.run(run())
