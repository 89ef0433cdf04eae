"""A function in processes: answers, failures, and what a process that dies or hangs leaves behind."""

import asyncio
import os
from pathlib import Path
from typing import Any

from streamflow.calls.caller import Answer, Outside
from streamflow.calls.guarded import GuardedCaller
from streamflow.errors import ErrorClass
from streamflow.model.expression import field_expression
from streamflow.model.schema import Schema, parse_fields
from streamflow.nodes.kind import Flow, Lowering
from streamflow.nodes.operators import Await
from streamflow.nodes.registry import KINDS
from tests.calls.callers import origin
from tests.calls.functions import counted, halved

SCHEMA = Schema("Asked", parse_fields({"number": "int", "wait_ms": "int", "shop": "str", "more": "int"})[0])


def _lowered(**config: Any) -> tuple[Any, list[str]]:
    kind = KINDS["python"]
    lowering = Lowering("node", Flow(SCHEMA, field_expression(SCHEMA, "shop"), "shop"))
    lowered = kind.lower(kind.config_type.model_validate(config), lowering)
    return lowered and lowered.operator, [problem.message for problem in lowering.problems]


def _ask(node: Await, rows: list[Any]) -> list[Answer]:
    async def run() -> list[Answer]:
        guarded = GuardedCaller(node.action.make("node", Outside()), node.policy)
        await guarded.caller.open()
        try:
            answers = list(await asyncio.gather(*(guarded.answer(row, origin(n)) for n, row in enumerate(rows))))
            assert 1 << 20 < guarded.view()["peak_bytes"] < 1 << 34
            return answers
        finally:
            await guarded.caller.close()

    return asyncio.run(run())


def _row(number: int, shop: str = "a") -> Any:
    return SCHEMA.row_type(number=number, wait_ms=0, shop=shop, more=1)


def test_processes_answer_fail_die_and_are_replaced() -> None:
    resilience = {"timeout": "8s", "retry": {"attempts": 1}}
    limited = {"processes": 2, "memory_bytes": 256 << 20}
    node, problems = _lowered(call=counted, resilience=resilience, **limited, **{"with": {"worst": 100_000}})
    assert problems == []
    shops = {3: "dies", 6: "raises", 9: "is cut off", 12: "hangs", 14: "hoards"}
    answers = _ask(node, [_row(number * 10_000, shops.get(number, "a")) for number in range(16)])
    told = {
        number: (answers[number].error.error_class, str(answers[number].error))  # type: ignore[union-attr]
        for number in shops
    }
    assert told[3] == (ErrorClass.TRANSIENT, "its process ended with 3")
    assert told[6][0] is ErrorClass.PERMANENT
    assert "ValueError: bad row (functions.py:" in told[6][1]
    assert told[9] == (ErrorClass.TRANSIENT, "ConnectionError: cut")
    assert told[12] == (ErrorClass.TRANSIENT, "no answer in 8 s")
    assert told[14] == (ErrorClass.PERMANENT, f"it needs more memory than {256 << 20} bytes")
    rows = {number: answer.rows[0] for number, answer in enumerate(answers) if answer.rows}
    assert {number: row.number for number, row in rows.items()} == {
        number: number * 10_000 % 100_000 for number in range(16) if number not in shops
    }
    processes = {row.process for row in rows.values()}
    assert os.getpid() not in processes
    assert not [each for each in processes if Path(f"/proc/{each}").exists()], "processes outlived their node"


def test_no_more_calls_are_under_way_than_processes_or_what_is_declared() -> None:
    for declared, expected in (({}, 3), ({"bulkhead": 2}, 2), ({"bulkhead": 9}, 3)):
        node, problems = _lowered(call=counted, resilience=declared, processes=3, **{"with": {"worst": 1}})
        assert (problems, node.policy.bulkhead) == ([], expected)


def test_what_cannot_be_called_elsewhere_is_refused() -> None:
    def local(row: Any) -> Any: ...

    assert _lowered(call=halved, processes=2)[1] == ["an `async def` is awaited, it needs no processes"]
    assert _lowered(call=counted, memory_bytes=1 << 30)[1] == ["memory is bounded in processes of their own"]
    in_worker = "the function is called in the worker, which does not wait for it"
    needs_waiting = {"timeout": "1s", "retry": {"attempts": 2, "base": 5}, "breaker": {}}
    assert _lowered(call=counted, concurrency=5, resilience=needs_waiting)[1] == [in_worker] * 4
    assert _lowered(call=counted, resilience={"retry": {"attempts": 2, "on": ["permanent"]}})[1] == []
    assert _lowered(call=counted, processes=1, **{"with": {"worst": object()}})[1] != []
