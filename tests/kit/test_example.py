"""The example of docs/nodes-python.md is the one in topologies/, and it runs as it says."""

import re
from pathlib import Path
from typing import Any

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.load import load_topology


def test_the_code_in_the_document_is_what_runs(root: Path) -> None:
    document = (root / "docs" / "nodes-python.md").read_text()
    module, trial = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    folder = root / "topologies" / "watch"
    assert (folder / "watch_nodes.py").read_text().endswith(module)
    (line,) = re.findall(r"^  watched: .*$", document, re.MULTILINE)
    assert line in (folder / "topology.yaml").read_text()
    load_topology(folder)  # makes its module importable
    exec(trial, {})


def test_the_topology_gives_what_its_readme_shows(root: Path) -> None:
    driver = Driver(make_plan(load_topology(root / "topologies" / "watch")), partitions=4, chunk_size=2)
    driver.now_ms = 1767225600000 + 3_600_000

    def reading(minute: int, number: int, celsius: float) -> dict[str, Any]:
        return {"time": 1767225600000 + minute * 60_000, "device": "d1", "id": number, "celsius": celsius}

    driver.publish("watch.readings", [reading(0, 1, 20.5), reading(0, 1, 20.5), reading(30, 2, 20.0)])
    driver.run()
    silent = {"device": "d1", "what": "silent", "time": 1767226200000, "celsius": None}
    again = {"device": "d1", "what": "speaks again", "time": 1767227400000, "celsius": 20.0}
    assert driver.output("watch.notices") == [silent, again]
    assert driver.table("watched") == {"d1": {"last": [20.5, 20.0], "silent_since": None}}
    driver.crash()
    driver.publish("watch.readings", [reading(31, 3 + i, 20.0) for i in range(3)] + [reading(32, 6, 30.0)])
    driver.run()
    assert [row["what"] for row in driver.output("watch.notices")[2:]] == ["jumped"]
