"""Python nodes in topologies: problems told while planning, clock timers, functions, layouts, life."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamflow.errors import TopologyError
from streamflow.kit import Process, Row, Time, Timer, Value
from streamflow.plan.notes import notes
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.builder import Builder
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology
from tests.kit import nodes

_HEAD = """
topology: t
schemas: {Order: {t: timestamp, k: str, op: str, a: int, b: int, id: int}, Other: {t: timestamp, k: str?, id: str}}
nodes:
  s: {kind: source, topic: in, schema: Order, event_time: t, watermark_delay: 10ms, key: k}
  x: {kind: source, topic: other, schema: Other, event_time: t}
  z: {kind: sink, input: x, topic: z}
"""


def _problems(node: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        parse_topology(_HEAD + f"  p: {{{node}}}\n  o: {{kind: sink, input: p, topic: out}}\n")
    return [f"{each.place}: {each.message} ({each.remedy})" for each in caught.value.problems]


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ("kind: process, input: s, call: 'tests.kit.nodes:Nothing'", ["module tests.kit.nodes has no Nothing"]),
        ("kind: process, input: s, call: 'os:system'", ["is no node class"]),
        ("kind: python, input: s, call: 'os:system'", ["is no function"]),
        ("kind: process, input: s, call: 3", ["3 is no import path"]),
        ("kind: process, input: s, call: 'tests.kit.nodes:Scripted', with: {x: 1}", ["takes no arguments"]),
        ("kind: python, input: s, call: 'tests.kit.nodes:twice', with: {times: often}", ["Expected `int`, got `str`"]),
        (
            "kind: process, input: x, call: 'tests.kit.nodes:Scripted'",
            [
                "unknown field 'op'",
                "unknown field 'a'",
                "wants k: str, but its input has k: str? (hint `| None`",
                "wants id: int, but its input has id: str",
                "rows have no key here",
            ],
        ),
    ],
)
def test_problems_are_told_while_planning(node: str, wanted: list[str]) -> None:
    problems = "\n".join(_problems(node))
    assert all(each in problems for each in wanted), problems


def _order(number: int, op: str = "add", key: str = "a", a: int = 1) -> dict[str, Any]:
    return {"t": 1_000 + number, "k": key, "op": op, "a": a, "b": 1, "id": number}


@pytest.mark.parametrize("fused", [True, False])
def test_a_function_gives_none_one_or_several_rows(fused: bool) -> None:
    text = """  p: {kind: python, input: s, call: "tests.kit.nodes:twice", with: {times: 3}}
  o: {kind: sink, input: p, topic: out}
  few: {kind: filter, input: p, where: op != "copy 0"}
  few_out: {kind: sink, input: few, topic: few}
"""
    driver = Driver(make_plan(parse_topology(_HEAD + text)), partitions=2, fused=fused)
    driver.publish("in", [_order(0), _order(1, "tag"), _order(2, "fail", "b"), _order(3, key="b")])
    driver.run()
    assert [(row["id"], row["op"]) for row in driver.output("out") if row["k"] == "a"] == [
        (0, "copy 0"),
        (0, "copy 1"),
        (0, "copy 2"),
    ]
    assert len(driver.output("few")) == 4
    letters = driver.dead_letters()
    assert [(each["sf-node"], each["sf-reason"], each["sf-offset"]) for each in letters] == [("p", "process", "2")]
    assert letters[0]["sf-error"].startswith("KeyError: 'function' (nodes.py:")


def test_a_clock_timer_behind_late_results_has_the_time_that_its_input_has_come_to() -> None:
    behind = """
  w: {kind: window, input: s, window: {type: tumbling, size: 1s}, allowed_lateness: 1m, aggregate: {n: count()}}
  m: {kind: map, input: w, set: {t: start, op: "'add'", a: "100", b: "0", id: n}}
  p: {kind: process, input: m, call: "tests.kit.nodes:Poll", table: polls}
  o: {kind: sink, input: p, topic: out}
"""
    driver = Driver(make_plan(parse_topology(_HEAD + behind)))
    driver.publish("in", [{"t": time, "k": "a", "op": "", "a": 0, "b": 0, "id": 0} for time in (0, 100_010)])
    driver.run()
    driver.now_ms += 200
    driver.idle(0)
    found = [(row["at"], row["clock"]) for row in driver.output("out")]
    assert found == [(100, False), (40_000, True)], "the watermark is 100 s, and corrections may be a minute behind it"


_POLL = """  p: {kind: process, input: s, call: "tests.kit.nodes:Poll", table: polls}
  o: {kind: sink, input: p, topic: out}
  w: {kind: window, input: p, window: {type: tumbling, size: 1s}, aggregate: {n: count()}, emit: update}
"""


@pytest.mark.parametrize(
    "crashes",
    [
        {},
        {1: CrashPoint.BEFORE_STORE},
        {2: CrashPoint.BEFORE_COMMIT, 3: CrashPoint.BEFORE_STORE},
        {1: CrashPoint.BEFORE_COMMIT},
    ],
)
def test_clock_timers_fire_once_each_when_the_clock_is_moved(crashes: dict[int, CrashPoint]) -> None:
    driver = Driver(make_plan(parse_topology(_HEAD + _POLL)), partitions=2)
    driver.crash_at = dict(crashes)
    driver.publish("in", [_order(0, a=500), _order(1, key="b", a=700)])
    driver.run()
    driver.idle(400)
    assert driver.output("out") == []
    driver.idle(100)
    driver.idle(0)  # after a crash the next look at the clock does what was lost
    # Event time is when the timer was set, as the watermark is behind that.
    assert driver.output("out") == [{"k": "a", "at": 1_000, "clock": True, "name": "poll"}]
    driver.idle(200)
    assert sorted(row["k"] for row in driver.output("out")) == ["a", "b"]
    driver.crash()
    driver.idle(1_000)
    assert sorted(row["k"] for row in driver.output("out")) == ["a", "a", "b", "b"]
    driver.publish("in", [_order(2, "stop"), _order(300, "stop", "b")])
    driver.run()
    driver.idle(5_000)
    fired = [(row["k"], row["name"], row["at"]) for row in driver.output("out") if row["name"] == "event"]
    assert fired == [("a", "event", 1_100), ("b", "event", 1_101)]
    assert [row["name"] for row in driver.output("out")].count("poll") == 4
    assert driver.table("polls") == {"a": {"rounds": 3}, "b": {"rounds": 3}}


def test_a_class_of_a_python_topology_runs_and_names_stay_data() -> None:
    class Note(Row):
        k: str
        times: int

    class Local(Process):
        times = Value(int)

        def __init__(self, step: int = 1) -> None:
            self._step = step

        def process(self, row: nodes.Order) -> Iterator[Note]:
            self.times.set((self.times.get() or 0) + self._step)
            yield Note(row.k, self.times.get() or 0)

    made = Builder("t")
    made.schema("Order", t="timestamp", k="str", op="str", a="int", b="int", id="int")
    source = made.source("s", topic="in", schema="Order", event_time="t", key="k")
    source.process("p", Local, arguments={"step": 2}).sink("o", topic="out")
    source.process("q", nodes.Poll)
    spec = made.build()
    q = spec.node("q")
    assert q is not None
    assert q.config["call"] == "tests.kit.nodes:Poll"
    assert "Local" in spec.model_dump_json()
    driver = Driver(make_plan(spec))
    driver.publish("in", [_order(0), _order(1)])
    driver.run()
    assert driver.output("out") == [{"k": "a", "times": 2}, {"k": "a", "times": 4}]
    assert any("p: table p keeps states without a ttl" in note for note in notes(make_plan(spec)))


def test_a_topology_finds_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_it_nodes.py").write_text("from streamflow.kit.samples import Silence\n")
    text = "topology: t\nschemas: {R: {time: timestamp, sensor: str, value: float}}\nnodes:\n"
    text += "  s: {kind: source, topic: in, schema: R, event_time: time, key: sensor}\n"
    text += "  p: {kind: process, input: s, call: 'beside_it_nodes:Silence', with: {minutes: 1}}\n"
    (tmp_path / "topology.yaml").write_text(text)
    assert make_plan(load_topology(tmp_path)).table("p") is not None


def test_nodes_are_opened_and_closed_with_their_task() -> None:
    events: list[str] = []

    class Living(Process):
        def __init__(self, name: str) -> None:
            self.name = name

        def open(self) -> None:
            events.append(f"open {self.name}")
            if self.name == "broken":
                raise ValueError("no")

        def process(self, row: nodes.Order) -> None:
            pass

        def close(self) -> None:
            events.append(f"close {self.name}")

    def plan(*names: str) -> Driver:
        made = Builder("t")
        made.schema("Order", t="timestamp", k="str", op="str", a="int", b="int", id="int")
        source = made.source("s", topic="in", schema="Order", event_time="t", key="k")
        for name in names:
            source.process(name, Living, arguments={"name": name})
        return Driver(make_plan(made.build()))

    driver = plan("one", "two")
    driver.run()
    driver.tasks()[0].close()
    assert events == ["open one", "open two", "close two", "close one"]
    events.clear()
    with pytest.raises(TopologyError, match=r"nodes\.broken: Living cannot be opened: ValueError: no"):
        plan("one", "broken").run()
    assert events == ["open one", "open broken", "close broken", "close one"]


def test_a_bounded_run_fires_every_timer_that_is_set_and_none_that_sets_itself() -> None:
    class Tick(Row):
        at: Time
        name: str

    class Metronome(Process):
        def process(self, row: nodes.Order) -> None:
            self.timers.set(row.t + 10, row.op)

        def on_timer(self, timer: Timer) -> Tick:
            self.timers.set(timer.time_ms + 10, timer.name)
            return Tick(timer.time_ms, timer.name)

    made = Builder("t")
    made.schema("Order", t="timestamp", k="str", op="str", a="int", b="int", id="int")
    source = made.source("s", topic="in", schema="Order", event_time="t", key="k")
    source.process("p", Metronome).sink("o", topic="out")
    driver = Driver(bounded(make_plan(made.build())))
    driver.publish("in", [_order(0, "x"), _order(5, "y"), _order(31, "z")])
    driver.finish()
    ticks = [f"{row['at']}{row['name']}" for row in driver.output("out")]
    assert ticks == ["1010x", "1015y", "1020x", "1025y", "1030x", "1035y", "1040x", "1041z"]


class Note(Row):
    k: str
    t: Time
    a: int


class Short(Row):
    k: str
    a: int


class Keeps(Process):
    def process(self, row: Note) -> Iterator[Note]:
        yield row


def passes(row: Note) -> Note | None:
    return row if row.a else None


async def waits(row: Short) -> list[Short]:
    return [row, row]


def other(row: Short) -> Short:
    return row


@pytest.mark.parametrize("fused", [True, False])
def test_a_row_may_be_given_back_as_it_came(fused: bool) -> None:
    """It has a class of the engine's, or of the node before."""
    text = (
        _HEAD
        + f"""
  kept:   {{kind: process, input: s, call: "{__name__}:Keeps"}}
  passed: {{kind: python, input: kept, call: "{__name__}:passes"}}
  other:  {{kind: python, input: passed, call: "{__name__}:other"}}
  waited: {{kind: python, input: other, call: "{__name__}:waits"}}
  o:      {{kind: sink, input: waited, topic: out}}
  apart:  {{kind: python, input: other, call: "{__name__}:other", processes: 1}}
  q:      {{kind: sink, input: apart, topic: apart}}
"""
    )
    driver = Driver(make_plan(parse_topology(text)), fused=fused)
    order = {"t": 5, "k": "x", "op": "-", "b": 1, "id": 7}
    driver.publish("in", [{**order, "a": a} for a in range(3)])
    driver.run()
    assert driver.dead_letters() == []
    rows = [{"k": "x", "a": a} for a in (1, 2)]
    assert driver.output("apart") == rows
    assert driver.output("out") == [rows[0]] * 2 + [rows[1]] * 2
