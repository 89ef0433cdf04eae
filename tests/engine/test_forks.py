"""Branches of a topology: what fails in one is nothing to the others, and rows go on as they are."""

import builtins
from typing import Any

import pytest

from streamflow.engine.program import compile_stage
from streamflow.inference.models import Models
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.testing.sample_models import MemoryFiles, linear_model
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


@pytest.mark.parametrize("kind", ["filter", "echo", "lookup"])
@pytest.mark.parametrize("forks", [True, False])
def test_long_chains_run_whatever_python_can_nest(kind: str, forks: bool) -> None:
    """With a sink at each node or only at the end; Python takes 100 levels and 20 blocks within each other."""
    count = 40 if forks else 110
    configs: dict[str, Any] = {
        "filter": {"kind": "filter", "where": "number != 3"},
        "echo": {"kind": "echo"},
        "lookup": {"kind": "lookup", "table": "texts", "key": "text"},
    }
    nodes: dict[str, Any] = {
        "s": {"kind": "source", "topic": "in", "schema": "E", "key": "text"},
        "texts": {"kind": "global_table", "topic": "texts", "schema": "E", "key": "text"},
    }
    before = "s"
    for number in range(count):
        config = configs[kind] | {"input": before}
        if kind == "echo":
            config["field"] = f"count{number}"
        if kind == "lookup":
            config["take"] = {f"found{number}": "more"}
        nodes[f"n{number}"] = config
        if forks:
            nodes[f"out{number}"] = {"kind": "sink", "input": f"n{number}", "topic": f"out{number}"}
        before = f"n{number}"
    nodes["out"] = {"kind": "sink", "input": before, "topic": "out"}
    driver = Driver(_plan(**nodes))
    driver.publish("texts", [{"number": 7, "text": "a", "more": "x"}])
    driver.run()
    driver.publish("in", [{"number": number, "text": "a", "more": None} for number in range(5)])
    driver.run()
    wanted = [0, 1, 2, 4] if kind == "filter" else [0, 1, 2, 3, 4]
    assert [row["number"] for row in driver.output("out")] == wanted
    if forks:
        assert all([row["number"] for row in driver.output(f"out{number}")] == wanted for number in range(count))
    counts = driver.tasks()[0].counters.by_node()
    assert (counts[before].rows_in, counts[before].rows_out) == (len(wanted), len(wanted))
    assert driver.dead_letters() == []


def test_a_model_behind_a_long_chain_is_asked_row_by_row() -> None:
    files = MemoryFiles()
    nodes: dict[str, Any] = {"s": _NODES["s"]}
    for number in range(120):
        nodes[f"n{number}"] = {"kind": "filter", "input": f"n{number - 1}" if number else "s", "where": "number >= 0"}
    nodes["scored"] = {"kind": "model", "input": "n119", "model": "m", "task": "regression", "features": ["number"]}
    nodes["out"] = {"kind": "sink", "input": "scored", "topic": "out"}
    driver = Driver(_plan(**nodes), models=Models(files, 1 << 20))
    driver.put("streamflow.models", *linear_model(files, "m", "1", [[2.0]]).record())
    driver.publish("in", [{"number": number, "text": "", "more": None} for number in range(5)])
    driver.run()
    assert [row["prediction"] for row in driver.output("out")] == [0.0, 2.0, 4.0, 6.0, 8.0]
