"""A checkpoint that cannot be taken ends the worker, whatever led to it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from streamflow.plan.plan import Plan
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


_LEVELED = make_plan(
    parse_topology("""
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k, priorities: {urgent: 8}}
  o: {kind: sink, input: s, topic: out}
""")
)


def hosted_task(plan: Plan, on_failure: Callable[[HostedTask, BaseException], None]) -> HostedTask:
    """A task of the first stage whose turn to commit is far away."""

    async def never(*_: object) -> Any:
        raise AssertionError("nothing is sent")

    producer = TaskProducer(load_settings(), "g", None, plan.dead_letter_topic, never, RecordLimits(never))
    stage = plan.stages[0]
    hosted = HostedTask(
        stage, 0, compile_stage(stage, plan), producer, Pacing(1_000, 1_000, 1 << 20), Turns(),
        dict.fromkeys((*stage.input_topics, "out"), 1), on_failure, lambda *_: None, lambda *_: None,
        SystemClock(), {}, AsyncNodes(plan, Outside()),
    )  # fmt: skip
    hosted._started_ms = time.monotonic() * 1_000 + 600_000
    return hosted


def opened(folder: Path, positions: dict[tuple[str, int], int]) -> OpenState:
    """A store with nothing in it, on the disk."""
    store = WriteBehindStore(RocksStore.open(folder, RocksMemory.of(8 << 20, 8 << 20)), time.monotonic)
    return OpenState(store, StoreMeta(), Progress(), positions)


def test_what_waits_of_a_task_that_was_taken_away_is_nothing() -> None:
    async def act() -> None:
        hosted = hosted_task(_LEVELED, lambda *_: None)
        await hosted.close()
        hosted.forget(hosted.stage.input_topics)
        assert not hosted.is_open

    asyncio.run(act())


def test_a_checkpoint_that_fails_when_its_time_comes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        told: list[BaseException] = []
        hosted = hosted_task(_PLAN, lambda task, error: told.append(error))
        hosted._adopt(opened(tmp_path, {("in", 0): 0}))
        monkeypatch.setattr("streamflow.checkpoint.progress.METADATA_MAX_BYTES", 1)
        monkeypatch.setattr("streamflow.runtime.hosted_task._SOON_MS", 1e9)
        now_ms = int(time.time() * 1_000)
        await hosted.work(Chunk("in", 0, [orjson.dumps({"t": now_ms, "k": "a"})], [Run(0, 0, now_ms)], 1))
        assert hosted._due is not None
        hosted._started_ms = 0.0
        hosted._come_due()
        assert [type(each) for each in told] == [StateMismatch]
        await hosted.close(dirty=True)

    asyncio.run(act())
