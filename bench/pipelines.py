"""What nodes cost in the engine alone, and what planning costs: `python -m bench.pipelines`; writes bench/PIPELINES.md.

pass_through and echo in turn, echo keeping a count per key: three nodes and ten, 10 to 100,000 events in the test driver
(JSON in and out, commits, no Kafka); and what planning takes, from a document to a plan and to code, by the number of
nodes. All of it is processor time, so that others on the machine count little.
"""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.processes import machine
from streamflow.engine.program import compile_stage
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.document import spec_of

_ROUNDS = 5
_EVENTS = (10, 100, 1_000, 10_000, 100_000)
_NODES = (3, 10, 100, 300)
_OUT = Path(__file__).parent / "PIPELINES.md"


def document(count: int) -> dict[str, Any]:
    """source → pass_through → echo → pass_through → … → sink."""
    nodes: dict[str, Any] = {"events": {"kind": "source", "topic": "in", "schema": "Event", "key": "key"}}
    before = "events"
    for number in range(count):
        name = f"n{number}"
        echo = {"kind": "echo", "field": f"count{number}"}
        nodes[name] = {"input": before, **(echo if number % 2 else {"kind": "pass_through"})}
        before = name
    nodes["out"] = {"kind": "sink", "input": before, "topic": "out"}
    return {"topology": "pipeline", "schemas": {"Event": {"key": "str", "number": "int"}}, "nodes": nodes}


def run(count: int, events: int) -> float:
    """CPU seconds for so many events through so many nodes; each echo has counted every event of its key."""
    driver = Driver(make_plan(spec_of(document(count))), chunk_size=5_000)
    driver.publish("in", [{"key": f"k{number % 100}", "number": number} for number in range(events)])
    gc.collect()
    began = time.process_time()
    driver.run()
    took_s = time.process_time() - began
    last = driver.records("out")[-1]
    assert len(driver.records("out")) == events
    expected = (events - 1) // 100 + 1
    counts = [value for name, value in orjson.loads(last.value or b"").items() if name.startswith("count")]
    assert counts == [expected] * (count // 2), counts
    return took_s


def _best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(_ROUNDS))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def planning(count: int) -> tuple[float, float]:
    """CPU seconds from a document to a plan, and from there to code."""
    plan_s, plan = _timed(lambda: make_plan(spec_of(document(count))))
    code_s, _ = _timed(lambda: [compile_stage(stage, plan) for stage in plan.stages])
    return plan_s, code_s


def main() -> None:
    """Measure and write."""
    lines = [
        "# Nodes in the engine alone",
        "",
        f"{machine()}. Best of {_ROUNDS}. `python -m bench.pipelines`",
        "",
        "| events | 3 nodes: events per CPU second | µs per event | 10 nodes: events per CPU second | µs per event |",
        "| --- | --- | --- | --- | --- |",
    ]
    for events in _EVENTS:
        taken = [_best(lambda n=count, e=events: run(n, e)) for count in (3, 10)]  # type: ignore[misc]
        cells = [cell for took_s in taken for cell in (f"{events / took_s:,.0f}", f"{took_s / events * 1e6:.2f}")]
        lines.append(f"| {events:,} | {' | '.join(cells)} |")
    lines += ["", "| nodes | document to plan, ms | plan to code, ms |", "| --- | --- | --- |"]
    for count in _NODES:
        found = [planning(count) for _ in range(_ROUNDS)]
        plan_s, code_s = (min(each) for each in zip(*found, strict=True))
        lines.append(f"| {count} | {plan_s * 1e3:.1f} | {code_s * 1e3:.1f} |")
    text = "\n".join(lines) + "\n"
    _OUT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
