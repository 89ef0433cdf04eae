"""Result fields of aggregates: type and nullability, as whatever stands behind the window sees them."""

import pytest

from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str, i: int, n: int?, f: float, s: str?, b: bool, j: json}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  w: {kind: window, input: s, window: {type: global}, aggregate: {r: "AGGREGATE"}}
  o: {kind: sink, input: w, topic: out}
"""


def plan_of(aggregate: str) -> Plan:
    """A plan with one aggregate."""
    return make_plan(parse_topology(_TOPOLOGY.replace("AGGREGATE", aggregate)))


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [
        ("count()", "int"), ("count(j)", "int"), ("sum(n)", "int"), ("sum(f)", "float"), ("average(i)", "float"),
        ("average(n)", "float?"), ("min(t)", "timestamp"), ("max(n)", "int?"), ("variance(i)", "float?"),
        ("variance_population(i)", "float?"), ("stddev(f)", "float?"), ("first(s)", "str?"), ("first(b)", "bool"),
        ("last(j)", "json?"), ("last(t)", "timestamp"), ("collect(s, 3)", "json"), ("distinct_count(s)", "int"),
        ("percentile(i, 99.9)", "int"), ("percentile(n, 1)", "int?"), ("median(t)", "timestamp"),
        ("median(f * 2)", "float"), ("top_k(b, 1)", "json"),
    ],
)  # fmt: skip
def test_result_types(aggregate: str, kind: str) -> None:
    """What follows from the argument's type."""
    node = next(node for node in plan_of(aggregate).stages[0].nodes if node.name == "w")
    field = node.schema.field("r")
    assert str(field) == f"r: {kind}"


def test_what_changes_the_bytes_changes_the_layout() -> None:
    """The percentile asked for does not, and so needs no new table."""

    def layout(aggregate: str) -> str:
        return plan_of(aggregate).stages[0].tables[0].layout

    assert layout("percentile(f, 50)") == layout("percentile(f, 99)") == layout("median( f )")
    different = [
        "collect(s, 3)",
        "collect(s, 4)",
        "first(s)",
        "first(i)",
        "top_k(s, 3)",
        "distinct_count(s)",
        "count(s)",
    ]
    assert len({layout(each) for each in different}) == len(different)
