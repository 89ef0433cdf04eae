"""Who can run what: stages by what their nodes require, local first, each answer with its reason."""

from collections.abc import Mapping
from typing import Any

import pytest

from streamflow.errors import TopologyError
from streamflow.kit import Row
from streamflow.plan.describe import describe
from streamflow.plan.placement import Where, placed
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.document import spec_of

SOURCE = {"kind": "source", "topic": "in", "schema": "E", "key": "n"}
CALL = "tests.plan.test_placement:doubled"


class Doubled(Row):
    """What a person's code gives."""

    n: int


def doubled(row: Doubled) -> Doubled:
    """A person's code."""
    return Doubled(row.n * 2)


def plan_of(nodes: Mapping[str, Any]) -> Plan:
    return make_plan(spec_of({"topology": "t", "schemas": {"E": {"n": "int"}}, "nodes": {"events": SOURCE, **nodes}}))


def _out(name: str, topic: str = "out") -> dict[str, Any]:
    return {"kind": "sink", "input": name, "topic": topic}


HEAVY: dict[str, dict[str, Any]] = {
    "light": {"kind": "filter", "input": "events", "where": "n % 3 > 0"},
    "heavy": {"kind": "python", "input": "light", "call": CALL, "requires": ["gpu", "avx512"]},
    "same": {"kind": "python", "input": "heavy", "call": CALL, "requires": "gpu"},
    "out": _out("same"),
}


def test_pass_through_and_echo_are_local() -> None:
    plan = plan_of(
        {
            "events": SOURCE | {"priorities": {"urgent": 8}},  # one node, however many topics it has
            "passed": {"kind": "pass_through", "input": "events"},
            "counted": {"kind": "echo", "input": "passed"},
            "out": _out("counted"),
        }
    )
    (found,) = placed(plan, (), {"http://other": ["gpu"]})
    assert (found.where, found.reason) == (Where.LOCAL, "its nodes require nothing")
    assert [(each["name"], each["requires"]) for each in found.shown()["nodes"]] == [
        ("events", []),
        ("passed", []),
        ("counted", []),
        ("out", []),
    ]


def test_what_requires_more_is_a_stage_of_its_own_and_what_follows_stays_with_it() -> None:
    plan = plan_of(HEAVY)
    assert [[node.name for node in stage.nodes] for stage in plan.stages] == [
        ["light", "heavy.queue"],
        ["heavy", "same", "out"],
    ]
    assert [stage.capabilities for stage in plan.stages] == [frozenset(), {"gpu", "avx512"}]
    assert describe(plan)["stages"][1]["requires"] == {"heavy": ["gpu", "avx512"], "same": ["gpu"]}
    # A key_by before it is such a border already.
    keyed = {**HEAVY, "light": {"kind": "key_by", "input": "events", "key": "n % 5"}}
    assert [stage.name for stage in plan_of(keyed).stages] == ["events", "light"]
    # What the source requires, too, needs no border.
    source = {
        **HEAVY,
        "events": SOURCE | {"requires": ["gpu", "avx512"]},
        "heavy": HEAVY["heavy"] | {"input": "events"},
    }
    assert [stage.name for stage in plan_of({**source, "light": _out("events", "all")}).stages] == ["events"]


@pytest.mark.parametrize("shape", [{}, {"chunk_size": 1}, {"fused": False, "partitions": 2}])
def test_rows_are_the_same_wherever_they_are_worked_on(shape: dict[str, Any]) -> None:
    driver = Driver(plan_of(HEAVY), **shape)
    driver.publish("in", [{"n": n} for n in range(20)])
    driver.run()
    assert sorted(row["n"] for row in driver.output("out")) == [n * 4 for n in range(20) if n % 3]
    driver.close()


def test_local_first_else_there_else_nobody_and_always_why() -> None:
    plan, gpu, both = plan_of(HEAVY), {"http://a": ["gpu"]}, {"http://a": ["gpu"], "http://b": ["avx512", "gpu", "x"]}
    heavy = placed(plan, ["gpu", "avx512"], both)[1]
    assert (heavy.where, heavy.workers) == (Where.LOCAL, ("http://b",))
    assert heavy.reason == "heavy requires gpu, avx512 and same requires gpu, which is here"
    heavy = placed(plan, ["avx512"], both)[1]
    assert (heavy.where, heavy.workers) == (Where.REMOTE, ("http://b",))
    assert heavy.reason == "heavy requires gpu, avx512 and same requires gpu; gpu is not here, but there"
    heavy = placed(plan, (), gpu)[1]
    assert (heavy.where, heavy.workers) == (Where.NOBODY, ())
    assert heavy.reason.endswith("avx512, gpu is not here, nor has one of 1 other workers all of it")
    assert heavy.remedy.startswith("start a worker that has avx512, gpu;")
    assert placed(plan, (), {})[1].reason.endswith("and no other worker is known")


def test_a_sink_outside_of_kafka_takes_its_requirement_along() -> None:
    sink = {"kind": "file_sink", "input": "events", "requires": ["disk"]}
    stages = plan_of({"files": sink}).stages
    assert [(stage.name, stage.capabilities) for stage in stages] == [("events", frozenset()), ("files", {"disk"})]


@pytest.mark.parametrize(
    ("requires", "said"), [(["GPU!"], "cannot name what workers have"), ({"gpu": 1}, "must be a list of names")]
)
def test_what_is_no_name_is_refused_with_its_place(requires: Any, said: str) -> None:
    with pytest.raises(TopologyError) as error:
        plan_of({"passed": {"kind": "pass_through", "input": "events", "requires": requires}, "out": _out("passed")})
    assert [each.place for each in error.value.problems] == ["nodes.passed.requires"]
    assert said in str(error.value)
