"""Topologies that are refused: each file of `bad/` begins with everything that is wrong with it."""

from pathlib import Path

import pytest

from streamflow.errors import TopologyError
from streamflow.topology.load import load_topology

FILES = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bad_topology_is_refused_with_exactly_these_problems(path: Path) -> None:
    """One line per problem: place, line of the file, what is wrong, and how to mend it."""
    expected = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    with pytest.raises(TopologyError) as refused:
        load_topology(path)
    told = [str(problem).replace(str(path), path.name) for problem in refused.value.problems]
    assert told == expected
    assert expected, "a bad topology has at least one problem"


def test_there_are_bad_topologies() -> None:
    """An empty folder would make the test above pass without testing anything."""
    assert len(FILES) >= 20
