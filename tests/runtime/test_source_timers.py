"""When moments of a timer are published, by what its task does; without Kafka."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.runtime.hosted_task import HostedTask
from streamflow.runtime.lane import Pair
from streamflow.runtime.timers import Timers
from streamflow.settings.settings import load_settings
from streamflow.topology.yaml_file import parse_topology
from tests.runtime.test_hosted_task import hosted_task, opened

_PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {Poll: {at: timestamp, city: str}}
nodes:
  polls:
    {kind: source, topic: polls, schema: Poll, event_time: at, key: city, timer: {every: 100ms, rows: [{city: oslo}]}}
  out: {kind: sink, input: polls, topic: out}
""")
)


class _Topic:
    """Takes what is published, as a Kafka that answers; `known_end` is what fetching has told of it."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.known_end = 0

    async def publish(self, topic: str, records: Sequence[Pair], *, partition: int) -> dict[int, int]:
        assert topic == "polls"
        self.values += [value or b"" for _, value in records]
        return {partition: len(self.values)}


async def _read(hosted: HostedTask, topic: _Topic) -> None:
    start = hosted.read_position(("polls", 0))
    now_ms = int(time.time() * 1_000)
    await hosted.work(Chunk("polls", 0, [*topic.values[start:]], [Run(0, start, now_ms)], len(topic.values)))
    topic.known_end = len(topic.values)


def test_nothing_is_published_while_sources_drain_and_no_moment_twice_after(tmp_path: Path) -> None:
    async def act() -> None:
        topic, hosted = _Topic(), hosted_task(_PLAN, lambda *_: None)
        hosted._adopt(opened(tmp_path, {("polls", 0): 0}))
        hosted.resume()
        worker: Any = SimpleNamespace(
            plan=_PLAN,
            settings=load_settings(),
            host=SimpleNamespace(tasks={("polls", 0): hosted}),
            partition_counts={"polls": 1},
            has_caught_up=lambda task, place: task.read_position(place) >= topic.known_end,
        )
        timers = Timers(worker)
        await timers._publisher.stop()
        timers._publisher = topic  # type: ignore[assignment]
        await timers._step()
        assert len(topic.values) == 1
        hosted.drain()
        await asyncio.sleep(0.11)  # longer than a period: the next moment is due
        await timers._step()
        assert len(topic.values) == 1, "nobody reads it now"
        hosted.resume()
        await timers._step()
        assert len(topic.values) == 1, "the end that fetching knows is from before what was published"
        await _read(hosted, topic)
        await timers._step()
        moments = [orjson.loads(value)["at"] for value in topic.values]
        assert len(set(moments)) == len(moments) == 2
        await hosted.close(dirty=True)

    asyncio.run(act())
