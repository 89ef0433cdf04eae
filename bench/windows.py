"""What windows cost: CPU per event by shape, and memory by open windows. `python -m bench.windows [--events N]`.

One task of the engine that production uses, in this process: no Kafka, a real RocksDB store, a checkpoint every 50,000
events. Decoding, folding, firing, encoding of results and changes and the write to the store are in; fetching and
sending are not; the collector is tuned as in production. Each shape runs in a process of its own; rounds go over all shapes, and medians are printed.

Every run is checked against a plain loop over the same events: rows of the sum of all counts that are emitted.
"""

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from streamflow.checkpoint.progress import Progress
from streamflow.engine.program import compile_stage
from streamflow.engine.task import Task
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.runtime.worker import tune_collector
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import StoreMeta
from streamflow.state.write_behind import WriteBehindStore
from streamflow.topology.yaml_file import parse_topology

SHAPES = {
    "tumbling": "type: tumbling, size: 1m",
    "sliding 2-fold": "type: sliding, size: 1m, slide: 30s",
    "sliding 60-fold": "type: sliding, size: 1m, slide: 1s",
    "tumbling of 1 s": "type: tumbling, size: 1s",
    "session": "type: session, gap: 5s",
    "count 1000": "type: count, size: 1000",
}
CHUNK = 2_000
CHUNKS_PER_CHECKPOINT = 25
_TOPOLOGY = """
topology: t
schemas: {{Reading: {{k: str, t: timestamp, v: float}}}}
nodes:
  s: {{kind: source, topic: in, schema: Reading, event_time: t, watermark_delay: 2s,
      future: {{limit: 1d}}, key: k}}
  w: {{kind: window, input: s, window: {{{window}}},
      aggregate: {{n: count(), s: sum(v), lo: min(v), hi: max(v)}}}}
  o: {{kind: sink, input: w, topic: out}}
"""


@dataclass(frozen=True)
class Load:
    """Keys, events, and events per second of event time."""

    keys: int
    events: int
    density: int

    def values(self) -> list[bytes | None]:
        """JSON readings, up to 2 s out of order, and one far ahead that closes everything."""
        chance = random.Random(1)
        pick, disorder = chance.randrange, chance.random
        found: list[bytes | None] = [
            orjson.dumps(
                {
                    "k": f"sensor-{pick(self.keys)}",
                    "t": 1_700_000_000_000 + i * 1_000 // self.density + int(disorder() * 2_000),
                    "v": round(disorder() * 100, 3),
                }
            )
            for i in range(self.events)
        ]
        return [*found, orjson.dumps({"k": "closing", "t": 1_700_010_000_000, "v": 0.0})]


class Bench:
    """One task over one window, and what came out."""

    def __init__(self, window: str, folder: Path) -> None:
        plan = make_plan(parse_topology(_TOPOLOGY.format(window=window)))
        stage = plan.stages[0]
        disk = RocksStore.open(folder / "state", RocksMemory.of())
        self._store = WriteBehindStore(disk, lambda: time.monotonic() * 1_000)
        self._now_ms = 1_700_010_000_000  # of the last event, so that none is ahead
        self.task = Task(
            compile_stage(stage, plan),
            0,
            store=self._store,
            partition_counts={topic.name: 1 for topic in plan.topics} | {plan.dead_letter_topic: 1},
            progress=Progress(),
            now_ms=self._now_ms,
            positions={("in", 0): 0},
        )
        self.outputs: list[bytes] = []
        self.results = self.total = 0
        #: Longest time that a slice of closing took.
        self.longest_s = 0.0
        self._chunks = self._offset = 0

    def feed(self, values: list[bytes | None]) -> float:
        """CPU seconds of working through the values."""
        spent = 0.0
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            chunk = Chunk("in", 0, part, [Run(0, self._offset, self._now_ms)], self._offset + len(part))
            self._offset += len(part)
            began = time.process_time()
            done = self.task.process(0, chunk, 0, len(part))
            while self.task.is_closing or done < len(part):
                self._close_on()
                done = self.task.process(0, chunk, done, len(part))
            self._chunks += 1
            if self._chunks % CHUNKS_PER_CHECKPOINT == 0:
                self._checkpoint()
            spent += time.process_time() - began
            self._read_outputs()
        began = time.process_time()
        self._checkpoint()
        spent += time.process_time() - began
        self._read_outputs()
        return spent

    def _close_on(self) -> None:
        """As the runtime does: a checkpoint per slice."""
        while self.task.is_closing:
            self._checkpoint()
            self._read_outputs()
            began = time.monotonic()
            self.task.go_on()
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _checkpoint(self) -> None:
        checkpoint = self.task.take_checkpoint(self._now_ms)
        if checkpoint is None:
            return
        self._store.write(checkpoint.tables, StoreMeta(progress=checkpoint.progress))
        self.task.committed(checkpoint.sequence)
        for (topic, _), rows in checkpoint.outputs.items():
            if topic == "out":
                self.outputs += [value for _, value, _ in rows if value is not None]

    def _read_outputs(self) -> None:
        """Count them outside of what is measured."""
        for value in self.outputs:
            self.total += orjson.loads(value)["n"]
        self.results += len(self.outputs)
        self.outputs.clear()


def _fold_of(name: str) -> int:
    return int(name.split()[1].partition("-")[0]) if name.startswith("sliding") else 1


def run_shape(name: str, load: Load) -> dict[str, float]:
    """One shape: CPU µs per event, results, and whether the counts of all results add up."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(SHAPES[name], Path(folder))
        values = load.values()
        tune_collector()
        cpu_s = bench.feed(values)
        wanted = load.events * _fold_of(name)
        exact = bench.total == wanted or (name.startswith("count") and wanted - bench.total < load.keys * 1_000)
        return {"us": cpu_s / load.events * 1e6, "results": bench.results, "exact": exact}


def run_open(name: str, count: int) -> dict[str, float]:
    """As many open windows as keys: peak bytes of the process, then one more event for each key."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench({"tumbling": "type: tumbling, size: 1h", "session": "type: session, gap: 1h"}[name], Path(folder))
        base = _peak_bytes()
        tune_collector()
        spent = 0.0
        for _ in range(2):
            for start in range(0, count, 100_000):
                spent += bench.feed(
                    [
                        orjson.dumps({"k": f"sensor-{i}", "t": 1_700_000_000_000 + i % 1_000, "v": 1.0})
                        for i in range(start, min(start + 100_000, count))
                    ]
                )
        filled = _peak_bytes()
        close_s = bench.feed([orjson.dumps({"k": "closing", "t": 1_700_010_000_000, "v": 0.0})])
        return {
            "us": spent / count / 2 * 1e6,
            "base": base,
            "filled": filled,
            "peak": _peak_bytes(),
            "close_s": close_s,
            "longest_s": bench.longest_s,
            "exact": bench.results == count and bench.total == 2 * count,
        }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def _in_process(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.windows", *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = orjson.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run shapes by rounds and print medians."""
    options = argparse.ArgumentParser(description="cost of windows")
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--keys", type=int, default=1_000)
    options.add_argument("--density", type=int, default=20_000, help="events per second of event time")
    options.add_argument("--open", type=int, default=5_000_000, help="open windows of the memory run, 0 for none")
    options.add_argument("--one", help="shape to run in this process")
    options.add_argument("--one-open", help="shape of the memory run in this process")
    given = options.parse_args()
    load = Load(given.keys, given.events, given.density)
    if given.one or given.one_open:
        result = run_shape(given.one, load) if given.one else run_open(given.one_open, given.open)
        print(orjson.dumps(result).decode())
        return
    arguments = ["--events", str(given.events), "--keys", str(given.keys), "--density", str(given.density)]
    rounds = [{name: _in_process("--one", name, *arguments) for name in SHAPES} for _ in range(given.rounds)]
    print(f"{given.events:,} events, {given.keys:,} keys, {given.density:,} events/s of event time")
    for name in SHAPES:
        costs = [each[name]["us"] for each in rounds]
        ratio = statistics.median(each[name]["us"] / each["tumbling"]["us"] for each in rounds)
        first = rounds[0][name]
        exact = "exact" if all(each[name]["exact"] for each in rounds) else "WRONG"
        print(
            f"{name:16} {statistics.median(costs):6.2f} µs/event  {ratio:5.2f} ×  {first['results']:>9,.0f} results  {exact}"
        )
    for name in ("tumbling", "session") if given.open else ():
        each = _in_process("--one-open", name, "--open", str(given.open))
        print(
            f"{given.open:,} open {name} windows: peak {each['filled'] / 2**20:,.0f} MiB open, "
            f"{each['peak'] / 2**20:,.0f} MiB when all close at once (process alone {each['base'] / 2**20:,.0f} MiB), "
            f"{each['us']:.2f} µs/event, closing {each['close_s']:.1f} s, {each['longest_s']:.2f} s at most in one slice, {'exact' if each['exact'] else 'WRONG'}"
        )


if __name__ == "__main__":
    main()
