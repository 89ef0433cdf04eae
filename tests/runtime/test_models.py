"""Models that a task begins with are loaded beside the loop."""

import asyncio
import threading

import pytest

from streamflow.engine.global_table import GlobalTable
from streamflow.errors import ModelsUnreachable
from streamflow.inference.card import ModelCard
from streamflow.inference.models import Models
from streamflow.plan.planner import make_plan
from streamflow.runtime.models import bring_models
from streamflow.testing.sample_models import MemoryFiles, linear_model
from streamflow.topology.document import spec_of

TOPOLOGY = {
    "topology": "t",
    "schemas": {"Row": {"time": "timestamp", "id": "str", "x": "float"}},
    "nodes": {
        "rows": {"kind": "source", "topic": "rows", "schema": "Row", "event_time": "time", "key": "id"},
        "first": {"kind": "model", "input": "rows", "model": "m", "task": "regression", "features": ["x"]},
        "out": {"kind": "sink", "input": "first", "topic": "out"},
    },
}


class FarFiles(MemoryFiles):
    """A file comes when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate, self.asked, self.is_away = threading.Event(), threading.Event(), list[str](), False

    def read(self, card: ModelCard) -> bytes:
        self.asked.append(card.version)
        self.begun.set()
        assert self.gate.wait(60)
        if self.is_away:
            raise ModelsUnreachable("away")
        return super().read(card)


def test_the_loop_turns_while_models_come_and_each_comes_once() -> None:
    files = FarFiles()
    plan = make_plan(spec_of(TOPOLOGY))
    [stage], models = plan.stages, Models(files, 1 << 20, background=True)
    tables = {each.name: GlobalTable(each) for each in plan.global_tables}
    [registry] = tables.values()

    async def act() -> None:
        registry.apply([linear_model(files, "m", "1", [[2.0]]).record()])
        tasks = [asyncio.create_task(bring_models(models, stage, tables, ())) for _ in range(3)]
        assert await asyncio.to_thread(files.begun.wait, 60)  # a load on the loop would not let it turn to here
        tasks[0].cancel()  # its partition is taken away
        registry.apply([linear_model(files, "m", "2", [[3.0]]).record()])
        files.gate.set()
        await asyncio.gather(*tasks[1:])
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert files.asked == ["1", "2"], "the latest by then too"
        await bring_models(models, stage, tables, (("first", "1"),))
        assert files.asked == ["1", "2"]

    asyncio.run(act())
    assert models.loads == 2


def test_a_model_that_cannot_be_fetched_is_told_to_whoever_waits() -> None:
    files = FarFiles()
    files.is_away = True
    card = linear_model(files, "m", "1", [[2.0]])
    models = Models(files, 1 << 20, background=True)
    files.gate.set()
    with pytest.raises(ModelsUnreachable):
        asyncio.run(models.bring(card))
    files.is_away = False
    asyncio.run(models.bring(card))
    assert models.get(card).card.version == "1"


def test_a_newer_version_that_cannot_be_fetched_is_not_asked_for_with_each_tick() -> None:
    files = FarFiles()
    files.gate.set()
    files.is_away = True
    card = linear_model(files, "m", "1", [[2.0]])
    models = Models(files, 1 << 20)
    assert [models.is_ready(card) for _ in range(5)] == [False] * 5
    assert len(files.asked) == 1
    models = Models(files, 1 << 20, retry_s=0.0)
    assert not models.is_ready(card)
    files.is_away = False
    assert models.is_ready(card)
