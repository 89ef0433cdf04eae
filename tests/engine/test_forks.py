"""Branches of a topology: what fails in one is nothing to the others, and rows go on as they are."""

import builtins
from typing import Any

import pytest

from streamflow.engine.program import compile_stage
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.document import spec_of

_NODES: dict[str, Any] = {
    "s": {"kind": "source", "topic": "in", "schema": "E"},
    "fails": {"kind": "map", "input": "s", "set": {"share": "1 / number"}},
    "one": {"kind": "sink", "input": "fails", "topic": "one"},
    "two": {"kind": "sink", "input": "s", "topic": "two"},
    "kept": {"kind": "filter", "input": "s", "where": "number >= 0"},
    "three": {"kind": "sink", "input": "kept", "topic": "three"},
    "joined": {"kind": "pass_through", "inputs": ["s", "kept"]},
    "both": {"kind": "sink", "input": "joined", "topic": "both"},
}
_EMPTY: list[Any] = [{}, 0, False, [], "", None]
_EVENTS: list[dict[str, Any]] = [{"number": number, "text": "", "more": more} for number, more in enumerate(_EMPTY)]


def _plan(**nodes: Any) -> Any:
    schemas = {"E": {"number": "int", "text": "str", "more": "json"}}
    return make_plan(spec_of({"topology": "t", "schemas": schemas, "nodes": nodes or _NODES}))


@pytest.mark.parametrize("fused", [True, False])
def test_a_branch_that_fails_takes_nothing_from_the_others_and_empty_values_are_values(fused: bool) -> None:
    driver = Driver(_plan(), fused=fused)
    driver.publish("in", _EVENTS)
    driver.run()
    assert [row["number"] for row in driver.output("one")] == [1, 2, 3, 4, 5]
    assert driver.output("two") == driver.output("three") == _EVENTS
    assert driver.output("both") == [event for event in _EVENTS for _ in range(2)], "by both ways"
    assert [letter["sf-node"] for letter in driver.dead_letters()] == ["fails"]


def test_nothing_is_compiled_while_rows_are_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions and look-ups are part of the stage's code, which is made once."""
    scaled = {"kind": "multiply", "input": "s", "field": "number", "factor": "{more.factor|2}"}
    out = {"kind": "sink", "input": "scaled", "topic": "out"}
    driver = Driver(_plan(s=_NODES["s"], scaled=scaled, out=out), chunk_size=1)
    driver.publish("in", [{"number": 0, "text": "", "more": None}])
    driver.run()

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something is compiled")

    for name in ("compile", "eval", "exec"):
        monkeypatch.setattr(builtins, name, refuse)
    driver.publish("in", [{"number": 3, "text": "", "more": {"factor": number}} for number in range(20)])
    driver.run()
    monkeypatch.undo()
    assert [row["number"] for row in driver.output("out")] == [0, *(3.0 * number for number in range(20))]
    assert driver.dead_letters() == []


def test_rows_are_written_once_however_many_nodes_they_pass() -> None:
    """Between fused nodes they are handed on as objects."""
    chain: dict[str, Any] = {"s": _NODES["s"]}
    for number in range(5):
        before = f"n{number - 1}" if number else "s"
        chain[f"n{number}"] = {"kind": "multiply", "input": before, "field": "number", "factor": 2}
    chain["out"] = {"kind": "sink", "input": "n4", "topic": "out"}
    plan = _plan(**chain)
    (stage,) = plan.stages
    text = compile_stage(stage, plan).source.text
    assert (text.count("encode("), text.count("decode(")) == (1, 0)
