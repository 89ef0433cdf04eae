"""Topologies that are planned: each file of `topology/good/` begins with its stages and topics."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.topology.load import load_topology

FILES = sorted((Path(__file__).parent.parent / "topology" / "good").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_good_topology_has_exactly_this_plan(path: Path) -> None:
    """Where it is cut, what each stage reads, keeps and writes, and which topics there must be."""
    expected = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    assert list(picture(make_plan(load_topology(path)))) == expected


def test_there_are_good_topologies() -> None:
    """An empty folder would make the test above pass without testing anything."""
    assert len(FILES) >= 6


def picture(plan: Plan) -> Iterator[str]:
    """A plan in a few lines."""
    for stage in plan.stages:
        nodes = " ".join(f"{node.name}({','.join(node.inputs)})" for node in stage.nodes)
        tables = f" keeps {' '.join(table.name for table in stage.tables)}" if stage.tables else ""
        yield f"stage {stage.name} reads {' '.join(stage.input_topics)}: {nodes}{tables}"
    for topic in plan.topics:
        partitions = f"as {topic.partitions_like}" if topic.partitions_like else topic.partitions or "as found"
        yield f"topic {topic.name}: {topic.role}, partitions {partitions}"
