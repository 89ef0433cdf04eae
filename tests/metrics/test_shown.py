"""Nodes that are left out of the metrics have no series, and all others have theirs."""

import pytest

from streamflow.errors import TopologyError
from streamflow.metrics.families import Metrics
from streamflow.metrics.samples import points_of
from streamflow.plan.planner import make_plan
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  sorted: {kind: branch, input: s, outputs: {early: k < "m"}, otherwise: late}
  asked: {kind: python, input: sorted.late, call: "tests.calls.functions:rated"}
  o: {kind: sink, input: sorted.early, topic: out}
  p: {kind: sink, input: asked, topic: told}
metrics: {sorted: false, asked: false, o: true}
"""


def test_a_node_is_left_out_with_all_that_was_put_in_for_it() -> None:
    text = _TOPOLOGY.replace("{t: timestamp, k: str}", "{t: timestamp, k: str, shop: str}")
    assert make_plan(parse_topology(text)).unmetered == {
        "sorted", "sorted.early", "sorted.late", "asked", "asked.queue",
    }  # fmt: skip


def test_series_of_nodes_that_are_left_out_are_nowhere() -> None:
    metrics = Metrics(frozenset({"hidden"}))
    for node in ("hidden", "seen"):
        metrics.rows_in.labels("t", "s", node).set(7)
        metrics.rates.fill(("t", "s", node), 0.5, None, 6, 1, 1_000.5)
    metrics.rows_late.labels("t", "s", "hidden").set(1)
    for accept in ("", "application/openmetrics-text"):
        text = metrics.render(accept)[0].decode()
        assert "hidden" not in text
        assert "streamflow_node_rows_late" not in text
        assert 'streamflow_node_rows_in{node="seen",stage="s",topology="t"} 7.0' in text
    points = [(name, number) for name, labels, number in points_of(metrics.shown) if labels.get("node") == "seen"]
    assert sorted(points) == [
        ("streamflow_node_last_execution_seconds", 1_000.5), ("streamflow_node_reduction_ratio", 0.5),
        ("streamflow_node_rows_failed", 1.0), ("streamflow_node_rows_in", 7.0),
        ("streamflow_node_rows_succeeded", 6.0),
    ]  # fmt: skip


def test_a_name_of_no_node_is_refused() -> None:
    with pytest.raises(TopologyError, match="did you mean 'sorted'"):
        make_plan(parse_topology(_TOPOLOGY.replace("{sorted: false", "{sort: false")))
