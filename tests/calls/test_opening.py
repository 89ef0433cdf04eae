"""Async nodes open together, and close when one of them cannot."""

import asyncio
from typing import Any

import pytest

from streamflow.calls.caller import Caller, Outside
from streamflow.calls.coroutine import CoroutineCaller
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.errors import Problem, TopologyError
from streamflow.plan.planner import make_plan
from streamflow.topology.document import spec_of


def nodes_of(count: int) -> AsyncNodes:
    asked = {"kind": "python", "input": "s", "call": "tests.calls.functions:rated"}
    nodes: dict[str, Any] = {"s": {"kind": "source", "topic": "in", "schema": "S"}}
    for number in range(count):
        nodes[f"a{number}"] = asked
        nodes[f"out{number}"] = {"kind": "sink", "input": f"a{number}", "topic": f"out{number}"}
    return AsyncNodes(
        make_plan(spec_of({"topology": "t", "schemas": {"S": {"shop": "str"}}, "nodes": nodes})), Outside()
    )


class Waiting(CoroutineCaller):
    """Opens when all others do, too; one cannot."""

    barrier: asyncio.Barrier
    closed: list[str]
    unable = ""

    async def open(self) -> None:
        await self.barrier.wait()
        if self._node == self.unable:
            raise TopologyError((Problem(f"nodes.{self._node}", "has no secret"),))

    async def close(self) -> None:
        self.closed.append(self._node)


@pytest.mark.parametrize("unable", ["", "a3"])
def test_nodes_open_together_and_close_in_reverse(unable: str) -> None:
    closed: list[str] = []

    async def run() -> None:
        nodes, barrier = nodes_of(10), asyncio.Barrier(10)
        for guarded in nodes.guarded.values():
            caller: Caller = guarded.caller
            caller.__class__ = Waiting
            assert isinstance(caller, Waiting)
            caller.barrier, caller.closed, caller.unable = barrier, closed, unable
        async with asyncio.timeout(60):
            await nodes.open()
        await nodes.close()

    if unable:
        with pytest.raises(TopologyError, match="has no secret"):
            asyncio.run(run())
    else:
        asyncio.run(run())
    assert closed == [f"a{number}" for number in reversed(range(10))]
