"""Every bad topology is refused with every problem, and every good one makes a plan. One file per case."""

from pathlib import Path

import pytest

from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import FILE_MAX_BYTES, parse_topology

_FOLDER = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(_FOLDER.glob("bad/*.yaml")), ids=lambda path: path.stem)
def test_all_expected_problems_are_reported(path: Path) -> None:
    """Lines `# problem: place: text` at the top say which problems there must be, and that there are no others."""
    lines = path.read_text().splitlines()
    expected = [line.removeprefix("# problem: ") for line in lines if line.startswith("# problem: ")]
    with pytest.raises(TopologyError) as caught:
        make_plan(load_topology(path))
    found = [str(problem) for problem in caught.value.problems]
    for text in expected:
        assert any(text in problem for problem in found), f"{text!r} is not among {found}"
    assert len(found) == len(expected), found


@pytest.mark.parametrize("path", sorted(Path("topologies").glob("*/topology.yaml")), ids=lambda path: path.parent.name)
def test_shipped_topologies_make_a_plan(path: Path) -> None:
    plan = make_plan(load_topology(path.parent))
    assert plan.stages


def test_yaml_and_python_give_one_spec() -> None:
    assert load_topology("topologies/flights") == load_topology("topologies/flights/topology.py")


def test_a_missing_or_empty_place_says_what_to_give(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(TopologyError, match="topology"):
            load_topology(place)
    (tmp_path / "topology.py").write_text("x = 1\n")
    with pytest.raises(TopologyError, match=r"builder\.build"):
        load_topology(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("topology: a\ntopology: b", "duplicate"),
        ("a: !!python/object:os.system x", "is not YAML"),
        ("- 1", "no topology"),
        ("#" * (FILE_MAX_BYTES + 1), "larger than"),
    ],
)
def test_yaml_is_data_only(text: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        parse_topology(text)
