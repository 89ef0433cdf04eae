"""A person's own aggregates: registered, of a package, refused, and what becomes of their mistakes."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from streamflow.errors import TopologyError, UserError
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology
from streamflow.windows.aggregates import OwnAggregate, find, register
from tests.windows.own_aggregates import Spread, Words

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str, s: str, v: int}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 0ms, key: k}
  w: {kind: window, input: s, window: {type: sliding, size: 20ms, slide: 10ms}, aggregate: {n: count(), r: "AGGREGATE"}}
  o: {kind: sink, input: w, topic: out}
"""


def driver_of(aggregate: str) -> Driver:
    """A topology with sliding windows of 20 ms."""
    return Driver(make_plan(parse_topology(_TOPOLOGY.replace("AGGREGATE", aggregate))))


def event(time: int, text: str = "x", value: int = 0) -> dict[str, Any]:
    """An event of the key a."""
    return {"t": time, "k": "a", "s": text, "v": value}


def test_state_that_is_changed_in_place_is_never_shared() -> None:
    """Overlapping windows merge panes; each must see its own."""
    driver = driver_of("words(s)")
    driver.publish("in", [event(1, "a b"), event(11, "b c"), event(21, "c"), event(100)])
    driver.run()
    driver.crash()
    assert [row["r"] for row in driver.output("out")] == [
        {"a": 1, "b": 1}, {"a": 1, "b": 2, "c": 1}, {"b": 1, "c": 2}, {"c": 1},
    ]  # fmt: skip
    assert {place: row["r"] for place, row in driver.table("w").items()} == {
        ("a", -10): {"a": 1, "b": 1}, ("a", 0): {"a": 1, "b": 2, "c": 1}, ("a", 10): {"b": 1, "c": 2},
        ("a", 20): {"c": 1}, ("a", 90): {"x": 1}, ("a", 100): {"x": 1},
    }  # fmt: skip


def test_an_event_that_lift_refuses_is_a_dead_letter_and_leaves_no_window() -> None:
    """It is not counted either."""
    driver = driver_of("words(s)")
    driver.publish("in", [event(1, ""), event(31, "a"), event(32, ""), event(100)])
    driver.run()
    assert [(row["start"], row["n"]) for row in driver.output("out")] == [(20, 1), (30, 1)]
    letters = driver.dead_letters()
    assert [(letter["sf-node"], letter["sf-error"]) for letter in letters] == [("w", "ValueError: an empty text")] * 2


def test_a_state_beyond_its_bound_stops_the_task() -> None:
    """Instead of a row that the changelog would refuse."""
    driver = driver_of("words(s)")
    driver.publish("in", [event(1, " ".join(str(number) for number in range(100)))])
    with pytest.raises(UserError, match="aggregate 'words' takes 393 bytes, its bytes_max is 200: bound what it keeps"):
        driver.run()


class Odd(Spread):
    """Gives text although it declares a number, and has a set in its state when asked to."""

    name, arguments = "odd", ("int",)

    def add(self, state: Any, value: Any) -> Any:
        """A set, which msgpack would bring back as a list, is no plain data; neither is an object."""
        return object() if value == 13 else [value]

    def result(self, state: Any) -> Any:
        """Not what was declared."""
        return "text" if state else None


def test_a_result_of_another_type_is_a_dead_letter() -> None:
    """The fields behind it have the declared type, or the expressions there would fail."""
    register(Odd)
    driver = driver_of("odd(v)")
    driver.publish("in", [event(1), event(100)])
    driver.run()
    assert driver.output("out") == []
    letter = driver.dead_letters()[0]
    assert letter["sf-reason"] == "aggregate_result"
    assert letter["sf-error"].endswith("odd gave 'text', its result_type is float?")


def test_a_state_that_is_no_plain_data_stops_the_task() -> None:
    """With the name of the aggregate."""
    register(Odd)
    driver = driver_of("odd(v)")
    driver.publish("in", [event(1, value=13)])
    with pytest.raises(UserError, match="the state of aggregate 'odd' cannot be written"):
        driver.run()


class Nameless(OwnAggregate):
    """Lacks nearly everything."""

    def init(self) -> Any:
        """Something."""
        return 0


class Wrong(Spread):
    """Types that there are not, a name that cannot be written."""

    name, arguments, result_type = "Is Wrong", ("integer",), "number?"


class Fails(Spread):
    """Raises without values."""

    name = "fails"

    def merge(self, state: Any, other: Any) -> Any:
        """Raises."""
        return state[0] + other[0]


class Tuples(Spread):
    """Would have another state after a restart."""

    name = "tuples"

    def init(self) -> Any:
        """A tuple."""
        return ()

    def merge(self, state: Any, other: Any) -> Any:
        """The same."""
        return state


class Shares(Words):
    """Gives all windows one state."""

    name = "shares"
    _one: ClassVar[dict[str, int]] = {}

    def init(self) -> Any:
        """The same each time."""
        return self._one


class Taken(Spread):
    """Has the name of another one."""

    name = "words"


class BuiltIn(Spread):
    """Has the name of a built-in one."""

    name = "median"


@pytest.mark.parametrize(
    ("own", "problems"),
    [
        (Nameless, ["has no name", "has no arguments", "has no result_type", "does not define add",
                    "does not define merge", "does not define result"]),
        (Wrong, ["has an unknown type 'integer'; types are str, int, float, bool, timestamp, json",
                 "has an unknown type 'number'; types are str, int, float, bool, timestamp, json",
                 "needs a name of small letters, digits and _"]),
        (Fails, ["fails without values: IndexError: list index out of range"]),
        (Tuples, ["its state does not come back from msgpack as it was: use lists and text keys"]),
        (Shares, ["init() gives the same object each time: windows would share it"]),
        (Taken, ["is registered by Words already"]),
        (BuiltIn, ["comes with streamflow already"]),
        (int, ["is no class derived from OwnAggregate"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_class_is_told_when_it_is_registered(own: Any, problems: list[str]) -> None:
    """All of it at once."""
    with pytest.raises(TopologyError) as refused:
        register(own)
    assert [problem.message for problem in refused.value.problems] == problems


def _package(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with an entry point `name = own_NAME:Aggregate`."""
    info = folder / f"own_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[streamflow.aggregates]\n{name} = own_{name}:Aggregate\n")
    (folder / f"own_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))


def test_packages_bring_aggregates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by name through the entry points of what is installed."""
    code = "from tests.windows.own_aggregates import Spread\nclass Aggregate(Spread):\n    name = 'reach'\n"
    _package(tmp_path, "reach", code, monkeypatch)
    driver = driver_of("reach(v)")
    driver.publish("in", [event(1, value=3), event(2, value=10), event(100)])
    driver.run()
    assert driver.output("out")[0]["r"] == 7.0
    with pytest.raises(TopologyError, match="unknown aggregate 'reech' \\(did you mean 'reach'"):
        driver_of("reech(v)")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('broken')", "aggregate bad entry point own_bad:Aggregate fails: OSError: broken"),
        ("from tests.windows.own_aggregates import Spread as Aggregate",
         "aggregate bad entry point own_bad:Aggregate has another name: 'spread'"),
        ("Aggregate = 3", "aggregate bad entry point own_bad:Aggregate has another name: None"),
    ],
)  # fmt: skip
def test_a_package_that_fails_is_a_problem_of_the_topology(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    """With its place, among all others."""
    _package(tmp_path, "bad", code, monkeypatch)
    monkeypatch.delitem(__import__("sys").modules, "own_bad", raising=False)
    with pytest.raises(TopologyError) as refused:
        driver_of("bad(v)")
    assert [(p.place, p.message) for p in refused.value.problems] == [("nodes.w.aggregate.r", message)]


def test_a_python_topology_defines_its_own(tmp_path: Path) -> None:
    """The file may be read again: every process of a worker does."""
    file = tmp_path / "topology.py"
    file.write_text(
        """
from streamflow.topology.builder import Builder
from streamflow.windows.aggregates import OwnAggregate, register

@register
class Product(OwnAggregate):
    name, arguments, result_type = "product", ("int",), "int"
    def init(self): return 1
    def add(self, state, value): return state * value
    def merge(self, state, other): return state * other
    def result(self, state): return state

made = Builder("own")
made.schema("A", t="timestamp", k="str", v="int")
source = made.source("s", topic="in", schema="A", event_time="t", watermark_delay="20ms", key="k")
source.window("w", window={"type": "session", "gap": "15ms"}, aggregate={"r": "product(v)"}).sink("o", topic="out")
topology = made.build()
"""
    )
    for _ in range(2):
        driver = Driver(make_plan(load_topology(file)))
        driver.publish("in", [event(1, value=3), event(21, value=5), event(11, value=7), event(100, value=1)])
        driver.run()
        assert [row["r"] for row in driver.output("out")] == [105]
    assert find("product") is not None
