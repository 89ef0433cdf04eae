"""What aggregates cost: `python -m bench.aggregates` prints the table of docs/aggregates.md.

One task in this process, no Kafka. CPU time, best of ROUNDS, in µs; adding beyond what count() costs:

    add, few      per event, 2,500 keys with 80 events each in their window: everything exact
    add, many     per event, 10 keys with 20,000 events each: behind the exact bounds
    row, result   per row: written at a checkpoint, and given when a window closes, of 80 events
    bytes         of a row of 80 and of 20,000 events
"""

import gc
import random
import time
from dataclasses import dataclass
from typing import Any

import orjson

from streamflow.checkpoint.progress import Progress
from streamflow.engine.program import Program, compile_stage
from streamflow.engine.task import Task
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.state.memory import MemoryStore
from streamflow.topology.yaml_file import parse_topology
from streamflow.windows.aggregates import OwnAggregate, register

EVENTS = 200_000
CHUNK = 5_000
ROUNDS = 5
_BASE = "count()"
AGGREGATES = (
    "sum(v)", "average(v)", "min(v)", "variance(v)", "stddev(v)", "first(v)", "last(v)", "last(s)", "collect(v, 100)",
    "distinct_count(n)", "distinct_count(s)", "percentile(v, 99)", "percentile(n, 99)", "top_k(n, 10)", "top_k(s, 10)",
    "spread(v)",
)  # fmt: skip
_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str, v: float, n: int, s: str}}
nodes:
  i: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 0ms, max_ahead: 36500d, key: k}
  w: {kind: window, input: i, window: {type: tumbling, size: 1d}, aggregate: {c: count(), r: "AGGREGATE"}}
  o: {kind: sink, input: w, topic: out}
"""


@register
class Spread(OwnAggregate):
    """An own aggregate, as small as one can be."""

    name, result_type = "spread", "float?"
    arguments = ("float",)

    def init(self) -> Any:
        return []

    def add(self, state: Any, value: Any) -> Any:
        return [min([value, *state]), max([value, *state])]

    def merge(self, state: Any, other: Any) -> Any:
        return [min(state + other), max(state + other)] if state or other else []

    def result(self, state: Any) -> Any:
        return state[1] - state[0] if state else None


@dataclass(frozen=True)
class Price:
    """CPU µs per event, per row written and per result; bytes of a row."""

    add: float
    row: float
    result: float
    row_bytes: float


def chunks(keys: int) -> list[Chunk]:
    """All events in one window of a day."""
    chance, made = random.Random(3), []
    for start in range(0, EVENTS, CHUNK):
        values: list[bytes | None] = []
        for number in range(start, start + CHUNK):
            user = min(int(chance.paretovariate(0.5)), 100_000)
            event = {"t": number, "k": f"key-{number * 7919 % keys}", "v": round(chance.gauss(50, 9), 3)}
            values.append(orjson.dumps(event | {"n": user, "s": f"user-{user}"}))
        made.append(_chunk(values, start))
    return made


def _chunk(values: list[bytes | None], start: int) -> Chunk:
    return Chunk("in", 0, values, [Run(0, start, 10**12)], start + len(values), marks=[], size_bytes=1, fetched_at_ms=1)


def measure(program: Program, given: list[Chunk]) -> Price:
    """One round over a new task."""
    counts = {topic.name: 1 for topic in program.plan.topics} | {program.plan.dead_letter_topic: 1}
    task = Task(program, 0, store=MemoryStore(), partition_counts=counts, progress=Progress(), now_ms=1)
    for chunk in given[:1]:
        task.process(0, chunk, 0, len(chunk.values))
    began = time.process_time()
    for chunk in given[1:]:
        task.process(0, chunk, 0, len(chunk.values))
    folded = time.process_time()
    checkpoint = task.take_checkpoint(1)
    written = time.process_time()
    assert checkpoint is not None
    rows = checkpoint.tables[0].changes
    task.committed(checkpoint.sequence)
    far = _chunk([orjson.dumps({"t": 10**9, "k": "key-0", "v": 0.0, "n": 0, "s": ""})], EVENTS)
    closing = time.process_time()
    task.process(0, far, 0, 1)
    closed = time.process_time()
    assert task.pending_outputs == len(rows)
    micros = 1e6 / len(rows)
    return Price(
        (folded - began) * 1e6 / (EVENTS - CHUNK), (written - folded) * micros, (closed - closing) * micros,
        sum(len(row or b"") for _, row in rows) / len(rows),
    )  # fmt: skip


def best(aggregate: str, given: list[Chunk]) -> Price:
    """The least of several rounds, number by number."""
    stage_plan = make_plan(parse_topology(_TOPOLOGY.replace("AGGREGATE", aggregate)))
    program = compile_stage(stage_plan.stages[0], stage_plan)
    rounds = [measure(program, given) for _ in range(ROUNDS)]
    return Price(*(min(getattr(each, name) for each in rounds) for name in ("add", "row", "result", "row_bytes")))


def main() -> None:
    """Print the table."""
    gc.disable()
    few, many = chunks(2_500), chunks(10)
    base, base_many = best(_BASE, few), best(_BASE, many)
    print(f"count() alone, with decoding: {base.add:.2f} µs per event; row {base.row:.1f}, result {base.result:.1f}")
    print("| aggregate | add, few | add, many | row | result | bytes, few | bytes, many |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for aggregate in AGGREGATES:
        one, other = best(aggregate, few), best(aggregate, many)
        times = (one.add - base.add, other.add - base_many.add, one.row - base.row, one.result - base.result)
        cells = [f"{max(0.0, value):.2f}" for value in times[:2]] + [f"{max(0.0, value):.1f}" for value in times[2:]]
        cells += [f"{one.row_bytes - base.row_bytes:,.0f}", f"{other.row_bytes - base_many.row_bytes:,.0f}"]
        print(f"| `{aggregate}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
