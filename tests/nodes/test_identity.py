"""What kept results are found by: all that they depend on, and nothing else."""

from typing import Any

from streamflow.nodes.identity import _digest
from streamflow.nodes.operators import Await
from streamflow.plan.planner import make_plan
from streamflow.topology.document import spec_of


def identity(resilience: dict[str, Any] | None = None, **changed: Any) -> bytes:
    node = {"kind": "python", "input": "s", "call": "tests.calls.functions:rated", **changed}
    node["resilience"] = {"cache": {"disk_bytes": 1 << 20}} | (resilience or {})
    document = {
        "topology": "t",
        "schemas": {"S": {"shop": "str", "number": "int", "wait_ms": "int"}},
        "nodes": {
            "s": {"kind": "source", "topic": "in", "schema": "S"},
            "asked": node,
            "out": {"kind": "sink", "input": "asked", "topic": "out"},
        },
    }
    found = [node.operator for stage in make_plan(spec_of(document)).stages for node in stage.nodes]
    (operator,) = (each for each in found if isinstance(each, Await))
    assert operator.policy.cache is not None
    return operator.policy.cache.identity


def test_it_changes_with_what_results_depend_on_alone() -> None:
    usual = identity()
    assert len(usual) == 16
    assert identity({"timeout": "7s"}, concurrency=7, order="unordered") == usual
    assert identity(call="tests.calls.functions:dawdling") != usual
    in_processes: dict[str, Any] = {"call": "tests.calls.functions:counted", "processes": 1}
    assert identity(**in_processes) == identity(**in_processes | {"processes": 2})
    assert identity(**in_processes) != identity(**in_processes, **{"with": {"worst": 3}})


def test_code_is_the_same_in_every_process() -> None:
    """A set is written in another order by each."""
    orders = frozenset([0, 8]), frozenset([8, 0])
    assert repr(orders[0]) != repr(orders[1]), "equal, but not as text"
    code = identity.__code__
    digests = {_digest(code.replace(co_consts=(*code.co_consts, ("a", order), order))) for order in orders}
    assert len(digests) == 1
    assert digests != {_digest(code.replace(co_consts=(*code.co_consts, ("a", frozenset([0])), orders[0])))}
