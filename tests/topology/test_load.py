"""Loading a topology from folders and files."""

from pathlib import Path

import pytest

from streamflow.errors import TopologyError
from streamflow.topology.load import load_topology
from streamflow.topology.spec import NODES_MAX, TopologySpec
from streamflow.topology.yaml_file import FILE_MAX_BYTES, parse_topology

YAML = """
topology: {name}
schemas: {{Reading: {{on: bool, value: float?}}}}
nodes:
  readings: {{kind: source, topic: t.readings, schema: Reading}}
  out: {{kind: sink, input: readings, topic: t.out}}
"""
PYTHON = """
from streamflow.topology.yaml_file import parse_topology
topology = parse_topology({text!r})
"""


def refused(path: Path) -> str:
    """What a refused path is told."""
    with pytest.raises(TopologyError) as error:
        load_topology(path)
    return str(error.value)


def test_a_folder_is_read_from_its_yaml_first(tmp_path: Path) -> None:
    """With both files the YAML one counts, with one of them that one."""
    (tmp_path / "topology.py").write_text(PYTHON.format(text=YAML.format(name="python")))
    assert load_topology(tmp_path).topology == "python"
    (tmp_path / "topology.yaml").write_text(YAML.format(name="yaml"))
    assert load_topology(tmp_path).topology == "yaml"
    assert load_topology(str(tmp_path / "topology.py")).topology == "python"


def test_yaml_is_version_1_2() -> None:
    """`float?` stands inside braces, and `on` is a name and not true."""
    spec = parse_topology(YAML.format(name="t"))
    assert spec.schemas == {"Reading": {"on": "bool", "value": "float?"}}


def test_a_spec_is_frozen() -> None:
    """A declared topology does not change."""
    spec = parse_topology(YAML.format(name="t"))
    with pytest.raises(ValueError, match="frozen"):
        spec.topology = "other"  # type: ignore[misc]
    assert isinstance(spec, TopologySpec)


def test_paths_that_hold_no_topology_say_so(tmp_path: Path) -> None:
    """An empty folder, and nothing at all."""
    assert "the folder has no topology" in refused(tmp_path)
    assert "there is no such file or folder" in refused(tmp_path / "nothing.yaml")


def test_python_files_that_fail_are_told_with_their_error(tmp_path: Path) -> None:
    """Exceptions of the file, a missing name, and problems of the topology it builds."""
    file = tmp_path / "topology.py"
    file.write_text("1 / 0")
    assert "ZeroDivisionError: division by zero" in refused(file)
    file.write_text("topology = 5")
    assert "defines no `topology`" in refused(file)
    file.write_text(PYTHON.format(text=YAML.format(name="Not Allowed")))
    assert "name 'Not Allowed' is not allowed" in refused(file)


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path: Path) -> None:
    """The limit is in bytes, and one byte beyond it is too much."""
    file = tmp_path / "topology.yaml"
    file.write_bytes(b"topology: \xff")
    assert "is not UTF-8" in refused(file)
    text = YAML.format(name="t")
    file.write_text(text + "#" * (FILE_MAX_BYTES - len(text)))
    assert load_topology(file).topology == "t"
    file.write_text(text + "#" * (FILE_MAX_BYTES - len(text) + 1))
    assert f"larger than {FILE_MAX_BYTES} bytes" in refused(file)


@pytest.mark.parametrize(
    "text", ["{" * 20_000, "a: " + "[" * 20_000, "- " * 20_000, "5", "[]", "? {a: b}\n: c", "a: !x b"]
)
def test_hostile_texts_are_refused_and_not_more(text: str) -> None:
    """Nesting beyond what a reader can follow, other shapes, keys that are no text, unknown tags."""
    with pytest.raises(TopologyError):
        parse_topology(text)


def test_a_topology_has_a_bound_of_nodes() -> None:
    """What is beyond it is not looked at."""
    nodes = "".join(f"  n{n}: {{kind: sink, input: readings, topic: t.out{n}}}\n" for n in range(NODES_MAX))
    with pytest.raises(TopologyError) as error:
        parse_topology(YAML.format(name="t") + nodes)
    assert str(error.value) == f"nodes, line 4: has more than {NODES_MAX} entries (split the topology)"
