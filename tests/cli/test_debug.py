"""Debug: every event by every node, as it runs elsewhere, and nothing outside is touched."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streamflow.cli.main import app
from streamflow.errors import UserError
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.breakpoints import breakpoint_of
from streamflow.testing.debugger import Debugger, Step
from streamflow.testing.driver import Driver
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology
from tests.engine.model import TOPOLOGY, make_events
from tests.inference import test_places as places

_SALES = """
topology: t
schemas: {Sale: {time: timestamp, shop: str, city: str?, amount: int}, Rate: {time: timestamp, rate: float}}
nodes:
  sales:   {kind: source, topic: t.sales, schema: Sale, event_time: time, key: shop}
  large:   {kind: filter, input: sales, where: amount > 10}
  priced:  {kind: map, input: large, set: {share: 100 / (amount - 13)}}
  out:     {kind: sink, input: priced, topic: t.large}
  by_city: {kind: key_by, input: large, key: city}
  totals:  {kind: window, input: by_city, window: {type: tumbling, size: 1s}, aggregate: {n: count()}}
  files:   {kind: file_sink, input: totals}
"""
_EVENTS = [
    {"time": 0, "shop": "a", "city": "x", "amount": 20},
    {"time": 1_500, "shop": "a", "city": "x", "amount": 13},
    {"time": 5, "shop": "a", "city": "y", "amount": 30},
    {"time": 6, "shop": "b", "city": "y", "amount": 3},
]


def _encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def _path(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.before, step.node) for step in steps]


def test_each_event_is_told_with_what_it_met_what_it_gave_and_what_it_changed() -> None:
    debugger = Debugger(make_plan(parse_topology(_SALES)))
    first, second, third, fourth = (debugger.feed("t.sales", _encoded(event), 10_000) for event in _EVENTS)
    way = [("sales", "large"), ("large", "priced"), ("priced", "out"), ("large", "by_city"), ("by_city", "totals")]
    assert _path(first.steps) == way
    assert [step.kind for step in first.steps] == ["filter", "map", "sink", "key_by", "window"]
    assert first.steps[0].row == _EVENTS[0]
    assert first.steps[2].row == {**_EVENTS[0], "share": 100 / 7}
    assert first.outputs == [{"topic": "t.large", "key": "a", "row": {**_EVENTS[0], "share": 100 / 7}}]
    assert first.state == [{"table": "totals", "key": ("x", 0), "before": None, "after": {"n": 1}}]
    assert (first.steps[4].watermark_ms, first.watermarks["by_city"]) == (None, 0)
    assert _path(second.steps) == [way[0], way[1], way[3], way[4], ("totals", "files")], "the window of before closes"
    assert second.steps[-1].row == {"city": "x", "start": 0, "end": 1_000, "n": 1}
    (letter,) = second.outputs
    assert (letter["topic"], letter["reason"], letter["node"]) == ("t.dead_letters", "expression", "priced")
    assert (third.late, third.state, third.watermarks["by_city"]) == ({"totals": 1}, [], 1_500)
    assert (_path(fourth.steps), fourth.outputs, fourth.late) == ([way[0]], [], {})
    end = debugger.end()
    assert (_path(end.steps), end.event) == ([("totals", "files")], 0)
    assert debugger.table("totals") == {("x", 0): {"n": 1}, ("x", 1_000): {"n": 1}}


def test_a_topology_that_is_watched_gives_what_it_gives_unwatched() -> None:
    plan, events = make_plan(parse_topology(TOPOLOGY)), make_events(150, seed=3)
    debugger, driver = Debugger(plan), Driver(bounded(plan))
    told = [debugger.feed("in", _encoded(event), 10_000) for event in events]
    driver.publish("in", events)
    driver.finish()
    told.append(debugger.end())
    for topic in ("results", "many_results"):
        found = [each["row"] for one in told for each in one.outputs if each["topic"] == topic]
        assert sorted(found, key=repr) == sorted(driver.output(topic), key=repr)
    steps = [step.node for one in told for step in one.steps]
    flown = sum(event["delay"] is not None for event in events)
    assert (steps.count("flown"), steps.count("by_carrier"), steps.count("w")) == (len(events), flown, flown)
    assert debugger.table("counts") == driver.table("counts")


@pytest.mark.parametrize("name", ["basics", "flights", "orders", "watch"])
def test_what_the_samples_are_made_of_can_be_watched(name: str, root: Path) -> None:
    seen: list[Step] = []
    debugger = Debugger(make_plan(load_topology(root / "topologies" / name)), seen.append)
    told = debugger.end()
    assert [each.node for each in seen] == [each.node for each in told.steps]
    assert told.watermarks, "every stage is there, and at its end"


def test_rows_that_models_are_asked_about_ahead_are_seen_too() -> None:
    seen: list[tuple[str, str]] = []
    driver = places.run(watch=lambda stage, node, before, row: seen.append((before, node)))
    assert places.rows_of(driver) == places.expected()
    assert seen.count(("first", "first_out")) == len(places.expected()["first"])


def test_it_stops_where_it_was_told() -> None:
    plan = make_plan(parse_topology(_SALES))
    at_node, above = breakpoint_of(plan, "priced"), breakpoint_of(plan, "totals: amount > 20")
    seen: list[Step] = []
    debugger = Debugger(plan, lambda step: seen.append(step) if at_node(step) or above(step) else None)
    for event in _EVENTS:
        debugger.feed("t.sales", _encoded(event), 10_000)
    assert [(step.event, step.node) for step in seen] == [(1, "priced"), (2, "priced"), (3, "priced"), (3, "totals")]
    for text, message in (
        ("nowhere", "no node 'nowhere'"),
        ("large: amoun > 1", "amount"),
        ("large: amount", "condition"),
    ):
        with pytest.raises(UserError, match=message):
            breakpoint_of(plan, text)


def test_a_person_moves_it_one_event_by_one_node_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rows of the table are named by their topic, events of the one source need not be.
    table = "  shops:   {kind: global_table, topic: t.shops, schema: Shop, key: shop}\n"
    (tmp_path / "topology.yaml").write_text(_SALES.replace("schemas: {", "schemas: {Shop: {shop: str}, ") + table)
    (tmp_path / "events").write_text("\n".join(json.dumps(event) for event in _EVENTS))

    monkeypatch.setenv("STREAMFLOW_STATE_DIR", str(tmp_path / "state"))
    runner = CliRunner()

    def debug(said: str, *options: str) -> Result:
        return runner.invoke(app, ["debug", str(tmp_path), *options], input=said)

    given = ("--events", str(tmp_path / "events"))
    two = debug("s\n\nq\n", *given, "--step")
    assert (two.exit_code, two.stdout.count("(debug)")) == (0, 3), two.output
    assert [line.split(" at ")[0].removeprefix("(debug) ") for line in two.stdout.splitlines()[:3]] == [
        "sales → large (filter)",
        "large → priced (map)",
        "priced → out (sink)",
    ]
    more = debug("event\ntable totals\ncontinue\n", *given, "--step", "--break", "by_city: amount > 20")
    assert more.stdout.count("(debug)") == 4, "each event by itself, the table between, then the one that is so large"
    assert "('x', 0): {\"n\": 1}" in more.stdout
    trace = [json.loads(line) for line in debug("", *given, "--json", "--end").stdout.splitlines()]
    assert [each["event"] for each in trace] == [1, 2, 3, 4, 0]
    assert debug("", "--step").exit_code == 2, "there are no events"
    assert debug("", "--events", "nowhere").exit_code == 2
    assert debug("", *given, "--json", "--step").exit_code == 2, "a program answers no questions"
    assert {each.name for each in tmp_path.iterdir()} == {"topology.yaml", "events"}, "sinks outside are left out"
    told = "  told:    {kind: webhook, input: sales, url: 'https://example.com/{shop}'}\n"
    with (tmp_path / "topology.yaml").open("a") as topology:
        topology.write(told)
    called = debug("", *given)
    assert "services are not called" in called.stdout
    assert "'example.com' is no host that this worker lets nodes call" in called.stdout
