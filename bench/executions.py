"""What executions cost: `python -m bench.executions` prints the tables of EXECUTIONS.md.

One task in this process, no Kafka: a chain of NODES stateless nodes from source to sink, checkpoints taken (encoded
events included) and thrown away every CHUNK events. CPU time, best of ROUNDS:

    without ids   events of which nobody has an id, over a source that declares none
    with ids      every event is an execution of its own

Node executions are rows into nodes as the task's counters have them, the sink included. Then PARKED executions wait at
an approval at once, over four tasks and a test driver, are decided, and end; and the table is folded from what was said.

`--kafka` runs the chain on a real broker instead, exactly once, to its end (`run --bounded`), one worker process, every
event with an id: time and CPU of the process, less those of a run over one event.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from bench.workload import PARTITIONS, create_topics
from streamflow.bus.detail import DataPathBus, Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.checkpoint.progress import Progress
from streamflow.engine.program import Program, compile_stage
from streamflow.engine.task import Task
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.state.memory import MemoryStore
from streamflow.testing.driver import EVENTS, Driver
from streamflow.topology.yaml_file import parse_topology

COUNT = 40_000
CHUNK = 4_000
ROUNDS = 3
NODES = 10
PARKED = 10_000
ON_KAFKA = 200_000
_CHAIN = """
topology: t
schemas: {{A: {{t: timestamp, id: str, k: str, v: float}}}}
nodes:
  n0: {{kind: source, topic: in, schema: A, event_time: t, future: {{limit: 36500d}}, key: k{more}}}
{maps}
  out: {{kind: sink, input: n{last}, topic: out}}
"""
_GATE = """
topology: t
schemas: {A: {t: timestamp, id: str, k: str, v: float}}
nodes:
  orders: {kind: source, topic: in, schema: A, event_time: t, future: {limit: 36500d}, key: k, execution_id: id}
  gate:   {kind: approval, input: orders, max_parked: 20000}
  out:    {kind: sink, input: gate.approved, topic: out}
"""


def _chain(more: str) -> str:
    maps = [f"  n{n}: {{kind: map, input: n{n - 1}, set: {{v: v + {n}}}}}" for n in range(1, NODES - 1)]
    return _CHAIN.format(more=more, maps="\n".join(maps), last=NODES - 2)


def _program(more: str) -> Program:
    plan = make_plan(parse_topology(_chain(more)))
    return compile_stage(plan.stages[0], plan)


def _event(number: int) -> dict[str, Any]:
    return {"t": number, "id": f"order-{number:09}", "k": f"key-{number * 7919 % 2_500}", "v": number / 8}


def _chunks() -> list[Chunk]:
    made = []
    for start in range(0, COUNT, CHUNK):
        values: list[bytes | None] = [orjson.dumps(_event(number)) for number in range(start, start + CHUNK)]
        made.append(Chunk("in", 0, values, [Run(0, start, 10**12)], start + CHUNK, size_bytes=1, fetched_at_ms=1))
    return made


def _chain_cost(program: Program, detail: Detail) -> tuple[float, int, int]:
    """(CPU s per event, node executions per event, hundredths of events that an execution says)."""
    counts = {topic.name: 6 for topic in program.plan.topics} | {program.plan.dead_letter_topic: 1, EVENTS: 1}
    bus = None if detail is Detail.OFF else DataPathBus(EVENTS, detail, "worker")
    spent, passed, said = 1e9, 0, 0
    for _ in range(ROUNDS):
        task = Task(program, 0, store=MemoryStore(), partition_counts=counts, progress=Progress(), now_ms=1, bus=bus)
        given, said = _chunks(), 0
        began = time.process_time()
        for chunk in given:
            task.process(0, chunk, 0, len(chunk.values))
            checkpoint = task.take_checkpoint(1)
            assert checkpoint is not None
            task.committed(checkpoint.sequence)
            said += sum(len(each) for (topic, _), each in checkpoint.outputs.items() if topic == EVENTS)
        spent = min(spent, time.process_time() - began)
        passed = sum(count.rows_in for count in task.counters.by_node().values())
    return spent / COUNT, passed // COUNT, said * 100 // COUNT


def _show_chain() -> None:
    print(
        f"| {NODES} nodes, one task, no Kafka | µs CPU per event | node executions per CPU second | bus events per execution |"
    )
    print("| --- | --- | --- | --- |")
    plain, named = _program(""), _program(", execution_id: id")
    for name, program, detail in (
        ("without ids, off", plain, Detail.OFF),
        ("without ids, lifecycle", plain, Detail.LIFECYCLE),
        ("with ids, off", named, Detail.OFF),
        ("with ids, lifecycle", named, Detail.LIFECYCLE),
        ("with ids, sampled", named, Detail.SAMPLED),
        ("with ids, every", named, Detail.EVERY),
    ):
        cost, nodes, said = _chain_cost(program, detail)
        print(f"| {name} | {cost * 1e6:.1f} | {nodes / cost:,.0f} | {said / 100:g} |", flush=True)


def _show_parked() -> None:
    driver = Driver(make_plan(parse_topology(_GATE)), partitions=4, chunk_size=1_000, events=Detail.LIFECYCLE)
    driver.publish("in", [_event(number) for number in range(PARKED)])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    driver.run()
    traced = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    waiting = list(driver.table("gate"))
    for approval in waiting:
        driver.decide("gate", approval, "approve", "ann")
    began = time.process_time()
    driver.run()
    decided = time.process_time() - began
    table, records = ExecutionTable(), driver.records(EVENTS)
    began = time.process_time()
    for record in records:
        table.add(orjson.loads(record.value or b""))
    folded = time.process_time() - began
    states = Counter(row["state"] for row in orjson.loads(table.encode())["rows"].values())
    print(f"\n{len(waiting):,} executions waited at once (state, log and bus of the driver: {traced >> 20} MiB);")
    print(
        f"decided and ended in {decided:.1f} s CPU; {dict(states)}; table of {len(records):,} events in {folded:.1f} s"
    )


async def _publish(bootstrap: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=1 << 19)
    await producer.start()
    now_ms = int(time.time() * 1_000)
    for partition in range(PARTITIONS):
        batch = producer.create_batch()
        for number in range(partition, count, PARTITIONS):
            value = orjson.dumps(_event(number))
            if batch.append(timestamp=now_ms, key=None, value=value) is None:
                await producer.send_batch(batch, topic, partition=partition)
                batch = producer.create_batch()
                batch.append(timestamp=now_ms, key=None, value=value)
        await producer.send_batch(batch, topic, partition=partition)
    await producer.stop()


def _run(bootstrap: str, folder: Path, detail: str, count: int) -> tuple[float, float]:
    """(seconds, CPU seconds of the process) of a bounded run over `count` events, its start included."""
    name = f"walks_{detail}_{count}"
    place = folder / name
    place.mkdir()
    text = _chain(", execution_id: id").replace("topology: t", f"topology: {name}")
    (place / "topology.yaml").write_text(
        text.replace("topic: in", f"topic: {name}.in").replace("topic: out", f"topic: {name}.out")
    )
    asyncio.run(create_topics(bootstrap, [f"{name}.in", f"{name}.out"]))
    asyncio.run(_publish(bootstrap, f"{name}.in", count))
    environment = {"STREAMFLOW_EVENTS_DETAIL": detail, "STREAMFLOW_HTTP_PORT": "0", "STREAMFLOW_NAMESPACE": name}
    command = [sys.executable, "-m", "streamflow", "run", str(place), "--bounded", "--brokers", bootstrap, "--json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [*command, "--state-dir", str(place / "state")],
        env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _show_kafka() -> None:
    heads = "µs CPU per event | node executions per CPU second | events/s seen | node executions/s seen"
    print(f"| {ON_KAFKA:,} events, {NODES} nodes, on Kafka | {heads} |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        broker = EmbeddedBroker.start(Path(folder) / "kafka", 0, print)
        try:
            for detail in ("off", "lifecycle"):
                least, much = (_run(broker.bootstrap, Path(folder), detail, count) for count in (1, ON_KAFKA))
                rate, cost = ON_KAFKA / (much[0] - least[0]), (much[1] - least[1]) / ON_KAFKA
                seen = f"{rate:,.0f} | {rate * NODES:,.0f}"
                print(f"| {detail} | {cost * 1e6:.1f} | {NODES / cost:,.0f} | {seen} |", flush=True)
        finally:
            broker.stop()


if __name__ == "__main__":
    if "--kafka" in sys.argv[1:]:
        _show_kafka()
    else:
        _show_chain()
        _show_parked()
