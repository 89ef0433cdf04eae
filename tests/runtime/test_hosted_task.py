"""A checkpoint that cannot be taken ends the worker, whatever led to it."""

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from streamflow.calls.caller import Outside
from streamflow.checkpoint.pacing import Pacing, Turns
from streamflow.checkpoint.progress import Progress
from streamflow.clock.clock import SystemClock
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.engine.program import compile_stage
from streamflow.errors import StateMismatch
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.runtime.hosted_task import HostedTask
from streamflow.runtime.record_limits import RecordLimits
from streamflow.runtime.recovery import OpenState
from streamflow.runtime.transaction import TaskProducer
from streamflow.settings.settings import load_settings
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import StoreMeta
from streamflow.state.write_behind import WriteBehindStore
from streamflow.topology.yaml_file import parse_topology

_PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  o: {kind: sink, input: s, topic: out}
""")
)


def test_a_checkpoint_that_fails_when_its_time_comes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        told: list[BaseException] = []
        stage, settings = _PLAN.stages[0], load_settings()

        async def limits() -> dict[str, int]:
            raise AssertionError("nothing is sent")

        async def commit(offsets: object) -> None:
            raise AssertionError("nothing is committed")

        producer = TaskProducer(settings, "g", None, _PLAN.dead_letter_topic, commit, RecordLimits(limits))
        hosted = HostedTask(
            stage, 0, compile_stage(stage, _PLAN), producer, Pacing(1_000, 1_000, 1 << 20), Turns(),
            {"in": 1, "out": 1},            lambda task, error: told.append(error), lambda *_: None, lambda *_: None,
            SystemClock(), {}, AsyncNodes(_PLAN, Outside()),
        )  # fmt: skip
        store = WriteBehindStore(RocksStore.open(tmp_path, RocksMemory.of(8 << 20, 8 << 20)), time.monotonic)
        hosted._adopt(OpenState(store, StoreMeta(), Progress(), {("in", 0): 0}))
        monkeypatch.setattr("streamflow.checkpoint.progress.METADATA_MAX_BYTES", 1)
        monkeypatch.setattr("streamflow.runtime.hosted_task._SOON_MS", 1e9)
        hosted._started_ms = time.monotonic() * 1_000 + 600_000  # it is not its turn
        now_ms = int(time.time() * 1_000)
        await hosted.work(Chunk("in", 0, [orjson.dumps({"t": now_ms, "k": "a"})], [Run(0, 0, now_ms)], 1))
        assert hosted._due is not None
        hosted._started_ms = 0.0
        hosted._come_due()
        assert [type(each) for each in told] == [StateMismatch]
        await hosted.close(dirty=True)

    asyncio.run(act())
