"""The Python builder: same meaning as YAML, and as many problems at once."""

import doctest
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamflow.errors import TopologyError
from streamflow.nodes.registry import KINDS
from streamflow.topology import builder
from streamflow.topology.builder import Builder, NodeHandle
from streamflow.topology.load import load_topology
from streamflow.topology.spec import TopologySpec
from streamflow.topology.yaml_file import parse_topology


@pytest.mark.parametrize("name", ["flights", "basics", "watch"])
def test_yaml_and_python_declare_the_same_topology(root: Path, name: str) -> None:
    """Both files of a folder give equal specs, and loading the folder gives that spec too."""
    folder = root / "topologies" / name
    from_yaml, from_python = load_topology(folder / "topology.yaml"), load_topology(folder / "topology.py")
    assert from_yaml == from_python == load_topology(folder)


def test_the_example_of_the_builder_runs() -> None:
    """The docstring is executed."""
    failed, attempted = doctest.testmod(builder)
    assert (failed, attempted > 5) == (0, True)


def test_every_method_declares_a_node_of_its_kind() -> None:
    """The short methods are the same as `node` with the kind's name."""
    made = Builder("t", guarantee="at_least_once")
    made.schema("Reading", sensor="str", value="float")
    source = made.source("readings", topic="t.readings", schema="Reading", key="sensor")
    doubled = source.multiply("doubled", field="value", factor=2)
    high = doubled.threshold("high", field="value", limit=10)
    low = doubled.threshold("low", field="value", limit=10, when="at_most").pass_through("lows")
    both = made.merge("both", high, low)
    both.echo("seen", field="n").map("named", keep=["n"]).sink("out", topic="t.out", partitions=3)
    assert made.build() == parse_topology(
        """
        topology: t
        guarantee: at_least_once
        schemas: {Reading: {sensor: str, value: float}}
        nodes:
          readings: {kind: source, topic: t.readings, schema: Reading, key: sensor}
          doubled: {kind: multiply, input: readings, field: value, factor: 2}
          high: {kind: threshold, input: doubled, field: value, limit: 10}
          low: {kind: threshold, input: doubled, field: value, limit: 10, when: at_most}
          lows: {kind: pass_through, input: low}
          both: {kind: pass_through, inputs: [high, lows]}
          seen: {kind: echo, input: both, field: n}
          named: {kind: map, input: seen, keep: [n]}
          out: {kind: sink, input: named, topic: t.out, partitions: 3}
        """
    )


def _declared(document: dict[str, Any]) -> Builder:
    """A document said through the builder, piece by piece."""
    head = {key: value for key, value in document.items() if key in ("version", "guarantee", "description")}
    made = Builder(document["topology"], **head)
    for name, fields in document["schemas"].items():
        made.schema(name, **fields)
    for name, body in document["nodes"].items():
        inputs = [body["input"]] if "input" in body else body.get("inputs", [])
        config = {key: value for key, value in body.items() if key not in ("kind", "input", "inputs")}
        made.node(name, body["kind"], *(NodeHandle(made, each) for each in inputs), **config)
    for name, budget in document.get("error_budgets", {}).items():
        made.error_budget(NodeHandle(made, name), **budget)
    for name, shown in document.get("metrics", {}).items():
        made.metrics(NodeHandle(made, name), shown)
    assert document.keys() <= {*head, "topology", "schemas", "nodes", "error_budgets", "metrics"}
    return made


def test_whatever_yaml_says_the_builder_says(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every topology of this repository, and every part that a topology may have."""
    kinds = set()
    for file in [*root.glob("topologies/**/*.yaml"), *root.glob("tests/topology/good/*.yaml")]:
        document = YAML(typ="safe", pure=True).load(file)
        used = {body["kind"] for body in document.get("nodes", {}).values()}
        if used and used <= KINDS.keys():  # others come from packages
            monkeypatch.syspath_prepend(file.parent)
            spec = parse_topology(file.read_text())
            assert _declared(document).build() == spec, file
            kinds |= {node.kind for node in spec.nodes}
    assert len(kinds) > 20
    assert set(TopologySpec.model_fields) <= set(Builder("t")._document)


def test_options_may_be_called_as_the_builders_own_arguments() -> None:
    made = Builder("t")
    made.node("n", "k", name="a")
    made.source("s", topic="x", schema="R").node("m", "k", name="b")
    assert [made._document["nodes"][name]["name"] for name in ("n", "m")] == ["a", "b"]


def test_a_name_declared_twice_is_told_with_everything_else() -> None:
    """The second declaration must not silently replace the first."""
    made = Builder("t")
    made.schema("Reading", value="float")
    made.schema("Reading", value="int")
    readings = made.source("readings", topic="t.readings", schema="Reading")
    readings.filter("hot", where="value > 30")
    readings.filter("hot", where="valeu > 40").sink("out", topic="t.out")
    with pytest.raises(TopologyError) as refused:
        made.build()
    assert [problem.place for problem in refused.value.problems] == ["schemas.Reading", "nodes.hot", "nodes.hot.where"]


def test_a_name_declared_twice_is_enough_to_be_refused() -> None:
    """Also when what remains would be a good topology."""
    made = Builder("t")
    made.schema("Reading", value="float")
    for _ in range(2):
        made.source("readings", topic="t.readings", schema="Reading").sink("out", topic="t.out")
    with pytest.raises(TopologyError, match=r"nodes\.readings: the name is declared twice"):
        made.build()
