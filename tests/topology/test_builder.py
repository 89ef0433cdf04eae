"""The Python builder: same meaning as YAML, and as many problems at once."""

import doctest
from pathlib import Path

import pytest

from streamflow.errors import TopologyError
from streamflow.topology import builder
from streamflow.topology.builder import Builder
from streamflow.topology.load import load_topology
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
