"""Async nodes open together, and close when one of them cannot."""

import asyncio
import os
import threading
from typing import Any

import pytest

from streamflow.calls.caller import Caller, Outside
from streamflow.calls.coroutine import CoroutineCaller
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.errors import Problem, TopologyError
from streamflow.plan.planner import make_plan
from streamflow.topology.document import spec_of
from tests.calls.callers import LOCAL, origin
from tests.calls.server import Server
from tests.calls.test_waiting import until

FUNCTION = {"kind": "python", "call": "tests.calls.functions:rated"}


def nodes_of(count: int, outside: Outside | None = None, **node: Any) -> AsyncNodes:
    asked = {"input": "s", **(node or FUNCTION)}
    nodes: dict[str, Any] = {"s": {"kind": "source", "topic": "in", "schema": "S"}}
    for number in range(count):
        nodes[f"a{number}"] = asked
        nodes[f"out{number}"] = {"kind": "sink", "input": f"a{number}", "topic": f"out{number}"}
    return AsyncNodes(
        make_plan(spec_of({"topology": "t", "schemas": {"S": {"shop": "str"}}, "nodes": nodes})), outside or Outside()
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


def test_a_hundred_nodes_and_a_hundred_lives_leave_nothing_open(server: Server) -> None:
    """No thread per node; after the end connections are closed, too."""
    made = {"kind": "http_request", "url": server.url + "/ok/{shop}", "response": {"double": "int"}, "connections": 2}

    async def life(nodes: AsyncNodes) -> None:
        await nodes.open()
        guarded = list(nodes.guarded.values())
        row = guarded[0].caller._action.output.row_type(shop="7", double=0)  # type: ignore[attr-defined]
        answers = await asyncio.gather(*(each.answer(row, origin()) for each in guarded))
        assert {answer.rows[0].double for answer in answers} == {14}
        threads.append(threading.active_count())
        await nodes.close()

    async def lives() -> None:
        await life(nodes_of(100, LOCAL, **made))
        first = open_files()
        for _ in range(100):
            await life(nodes_of(1, LOCAL, **made))
        await until(lambda: open_files() <= first)  # server and loop close sockets in turns of their own

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before, threads = threading.active_count(), list[int]()
    asyncio.run(lives())
    assert max(threads) - before < 20
