"""The memory estimate follows the plan."""

from pathlib import Path
from typing import Any

from streamflow.deploy.needs import Needs, needs_of
from streamflow.deploy.release import release_values
from streamflow.deploy.resources import estimate_memory
from streamflow.deploy.values import ChartValues
from streamflow.kit.process import Process
from streamflow.kit.rows import Row, Time
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.document import spec_of
from streamflow.topology.load import load_topology


def test_more_workers_have_fewer_tasks_each() -> None:
    plan, settings = make_plan(load_topology("topologies/flights")), load_settings()
    one, three = (estimate_memory(plan, settings, 8, workers) for workers in (1, 3))
    assert (one.task_count, three.task_count) == (40, 14)
    assert one.global_table_bytes == 8_000_000, "every worker holds whole tables"
    assert one.total_bytes > three.total_bytes > settings.rocksdb_cache_bytes
    stateless = make_plan(load_topology("topologies/readings_stateless"))
    assert estimate_memory(stateless, settings, 8, 1).state_bytes == 0


def test_memory_of_a_module_is_counted_for_each_thread() -> None:
    node: dict[str, Any] = {
        "kind": "wasm",
        "input": "events",
        "module": "streamflow/kit/sample.wat",
        "function": "above",
    }
    node |= {"arguments": ["n", "20.0"], "memory_pages": 320}

    def bytes_with(**more: int) -> int:
        nodes = {
            "events": {"kind": "source", "topic": "in", "schema": "E"},
            "high": node | more,
            "out": {"kind": "sink", "input": "high", "topic": "out"},
        }
        plan = make_plan(spec_of({"topology": "t", "schemas": {"E": {"n": "int"}}, "nodes": nodes}))
        return needs_of(plan, load_settings(), 4, 2).memory_bytes

    assert (bytes_with(), bytes_with(threads=3)) == (20 << 20, 60 << 20)


class Note(Row):
    """A row of the topology below."""

    time: Time
    word: str


class Words(Process):
    """Knows many words."""

    memory_bytes = 200 << 20

    def process(self, row: Note) -> None:
        """Nothing."""


def plainly(row: Note) -> Note:
    """The row."""
    return row


_TOPOLOGY = """
topology: needy
schemas: {Note: {time: timestamp, word: str}}
nodes:
  notes:   {kind: source, topic: needy.notes, schema: Note, event_time: time, key: word, partitions: 8}
  words:   {kind: process, input: notes, call: "tests.deploy.test_resources:Words"}
  heavy:   {kind: python, input: notes, call: "tests.deploy.test_resources:plainly", processes: 3}
  asked:   {kind: http_request, input: notes, url: "http://words.test:8443/{word}", response: {found: str}}
  weighed: {kind: sink, input: heavy, topic: needy.weighed}
  found:   {kind: sink, input: asked, topic: needy.found}
  told:    {kind: webhook, input: notes, url: "https://hooks.test/notes"}
"""


def test_what_nodes_declare_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(_TOPOLOGY)
    plan, settings = make_plan(load_topology(tmp_path)), load_settings()
    needs = needs_of(plan, settings, 8, 3)
    assert needs == Needs(3 * (200 << 20) + 3 * (64 << 20), 3, (443, 8443)), "three tasks, three processes"
    values = release_values(plan, tmp_path, settings, {topic.name: 8 for topic in plan.topics}, 3)
    assert values["resources"]["cpu"] == "4"
    assert [each["port"] for each in values["networkPolicy"]["extraEgress"][0]["ports"]] == [443, 8443]
    ChartValues.model_validate(values)
    scored = make_plan(load_topology("topologies/flight_delay"))
    least = load_settings(models_max_bytes=1 << 20)
    assert needs_of(scored, settings, 2, 1).memory_bytes - needs_of(scored, least, 2, 1).memory_bytes == (1 << 30) - (
        1 << 20
    )
