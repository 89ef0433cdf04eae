"""The stateless kinds of the library beside plain computations, in the engine."""

import hashlib
import hmac
import json
import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.model.expression.functions import share
from streamflow.nodes.branch import Branch
from streamflow.nodes.cast import Cast
from streamflow.nodes.filter import Filter
from streamflow.nodes.flat_map import FlatMap
from streamflow.nodes.mask import Mask
from streamflow.nodes.multiply import Multiply
from streamflow.nodes.normalize import Normalize
from streamflow.nodes.sample import Sample
from streamflow.nodes.threshold import Threshold
from streamflow.plan.planner import make_plan
from streamflow.testing.compliance import run_kind
from streamflow.testing.driver import Driver
from streamflow.topology.builder import Builder
from streamflow.topology.document import spec_of

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def reading(value: float, number: int = 0, **more: Any) -> dict[str, Any]:
    """A row of the compliance kit's schema; its time tells it from others."""
    return {"time": number, "sensor": f"s{number % 7}", "value": value, **more}


def rows_of(values: list[float]) -> list[dict[str, Any]]:
    """Rows with these values."""
    return [reading(value, number) for number, value in enumerate(values)]


def run(kind: str, events: list[Any], schema: dict[str, str], /, **config: Any) -> Driver:
    """Source → node → sink `out`, with any schema."""
    nodes = {
        "events": {"kind": "source", "topic": "in", "schema": "E"},
        "it": {"kind": kind, "input": "events", **config},
        "out": {"kind": "sink", "input": "it", "topic": "out"},
    }
    driver = Driver(make_plan(spec_of({"topology": "t", "schemas": {"E": schema}, "nodes": nodes})))
    driver.publish("in", events)
    driver.run()
    return driver


def refused(kind: Any, **config: Any) -> str:
    """What is said of a configuration that cannot run."""
    with pytest.raises(TopologyError) as error:
        run_kind(kind, [], **config)
    return str(error.value)


# -- branch -----------------------------------------------------------------------------------------------------------


@given(NUMBERS)
def test_branch_sends_each_row_to_the_first_output_that_holds(values: list[float]) -> None:
    config = {"outputs": {"high": "value > 10", "above_zero": "value > 0"}, "otherwise": "rest"}
    expected = [v for v in values if v > 10] + [v for v in values if 0 < v <= 10] + [v for v in values if v <= 0]
    assert [row["value"] for row in run_kind(Branch, rows_of(values), **config)] == expected


def _branch(**nodes: Any) -> dict[str, Any]:
    router = {"kind": "branch", "input": "events", "outputs": {"big": "n > 10", "odd": "1 / n > 0.2"}}
    base = {"events": {"kind": "source", "topic": "in", "schema": "E"}, "router": router}
    return {"topology": "t", "schemas": {"E": {"n": "int", "room": "str?"}}, "nodes": base | nodes}


def _sink(before: str) -> dict[str, Any]:
    return {"kind": "sink", "input": before, "topic": f"to_{before}"}


@pytest.mark.parametrize("fused", [True, False])
def test_outputs_count_their_rows_and_a_condition_that_fails_gives_one_dead_letter(fused: bool) -> None:
    """An output that nobody reads drops its rows, and they are counted all the same."""
    driver = Driver(make_plan(spec_of(_branch(out=_sink("router.odd")))), fused=fused)
    driver.publish("in", [{"n": n} for n in (20, 1, 2, 0, 9, 11)])
    driver.run()
    assert [row["n"] for row in driver.output("to_router.odd")] == [1, 2]
    assert [(letter["sf-node"], letter["sf-reason"]) for letter in driver.dead_letters()] == [("router", "expression")]
    counts = driver.tasks()[0].counters.by_node()
    assert {name: (each.rows_in, each.rows_out, each.dead) for name, each in counts.items()} == {
        "events": (6, 6, 0),
        "router": (6, 4, 1),
        "router.big": (2, 2, 0),
        "router.odd": (2, 2, 0),
        "out": (2, 2, 0),
    }


def test_fields_that_a_condition_proves_are_not_null_behind_it() -> None:
    nodes = {
        "router": {
            "kind": "branch",
            "input": "events",
            "outputs": {"known": "room is not None and n > 0"},
            "otherwise": "rest",
        },
        "loud": {"kind": "map", "input": "router.known", "set": {"room": "upper(room)"}},
        "out": _sink("loud"),
        "others": _sink("router.rest"),
    }
    driver = Driver(make_plan(spec_of(_branch(**nodes))))
    driver.publish("in", [{"n": 1, "room": "a"}, {"n": 1}, {"n": 0, "room": "b"}])
    driver.run()
    assert driver.output("to_loud") == [{"n": 1, "room": "A"}]
    assert driver.output("to_router.rest") == [{"n": 1, "room": None}, {"n": 0, "room": "b"}]


def test_outputs_of_a_branch_can_meet_a_stateful_node_and_each_other() -> None:
    nodes = {
        "router": {"kind": "branch", "input": "events", "outputs": {"big": "n > 10"}, "otherwise": "small"},
        "by_n": {"kind": "key_by", "input": "router.small", "key": "n"},
        "counted": {"kind": "echo", "input": "by_n"},
        "out": _sink("counted"),
        "all": {"kind": "pass_through", "inputs": ["router.big", "router.small"]},
        "everything": _sink("all"),
    }
    driver = Driver(make_plan(spec_of(_branch(**nodes))), partitions=2)
    driver.publish("in", [{"n": n} for n in (1, 20, 1, 2)])
    driver.run()
    assert sorted((row["n"], row["count"]) for row in driver.output("to_counted")) == [(1, 1), (1, 2), (2, 1)]
    assert sorted(row["n"] for row in driver.output("to_all")) == [1, 1, 2, 20]


def test_outputs_are_read_in_python_as_in_yaml() -> None:
    builder = Builder("t")
    builder.schema("E", n="int")
    router = builder.source("events", topic="in", schema="E").branch("router", outputs={"big": "n > 10"}, otherwise="x")
    router.output("big").sink("out", topic="big")
    driver = Driver(make_plan(builder.build()))
    driver.publish("in", [{"n": 1}, {"n": 11}])
    driver.run()
    assert driver.output("big") == [{"n": 11}]


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        (
            {"out": _sink("router")},
            "nodes.out: input 'router' has several outputs (name one of router.big, router.odd)",
        ),
        ({"out": _sink("router.bog")}, "nodes.out: input 'router.bog' is no node"),
        ({}, "nodes.router: its rows reach neither a sink nor a table"),
        (
            {"router": {"kind": "branch", "input": "events", "outputs": {"a": "m > 1"}}, "out": _sink("router.a")},
            "nodes.router.outputs.a: unknown field 'm'",
        ),
        (
            {"router": {"kind": "branch", "input": "events", "outputs": {"a": "n"}}, "out": _sink("router.a")},
            "nodes.router.outputs.a: a condition is true or false, this is int",
        ),
        (
            {"router": {"kind": "branch", "input": "events", "outputs": {"A b": "n > 1"}}, "out": _sink("router.A b")},
            "name 'A b' is not allowed",
        ),
        (
            {
                "router": {"kind": "branch", "input": "events", "outputs": {"a": "n > 1"}, "otherwise": "a"},
                "out": _sink("router.a"),
            },
            "there is an output 'a' already",
        ),
    ],
)
def test_branches_that_cannot_run_are_told(nodes: dict[str, Any], told: str) -> None:
    with pytest.raises(TopologyError) as error:
        spec_of(_branch(**nodes))
    assert told in str(error.value)


# -- flat_map ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.none() | st.lists(st.text(max_size=3), max_size=5), max_size=10))
def test_flat_map_gives_a_row_per_element(lists: list[list[str] | None]) -> None:
    rows = [reading(1.5, number, tags=tags) for number, tags in enumerate(lists)]
    found = run_kind(FlatMap, rows, **{"list": "tags"}, into="tag", type="str", position="place", keep=["time"])
    assert found == [
        {"time": number, "tag": tag, "place": place}
        for number, tags in enumerate(lists)
        for place, tag in enumerate(tags or [])
    ]


def test_flat_map_types_objects_and_puts_aside_lists_that_do_not_fit() -> None:
    """The whole list: no row of it goes on."""
    items = [
        [{"sku": "a", "count": 2, "at": "1970-01-01T00:00:01Z", "colour": "red"}, {"sku": "b", "count": 1, "at": 5}],
        [{"sku": "c", "count": 1, "at": 5}, {"sku": "d", "count": "many", "at": 5}],
        [],
        "none",
        [{"sku": "e", "count": 1, "at": "noon"}],
        [{"sku": "f", "count": 1, "at": 5}] * 4,
    ]
    events = [{"order": number, "items": each} for number, each in enumerate(items)]
    fields = {"sku": "str", "count": "int", "at": "timestamp", "note": "str?"}
    driver = run("flat_map", events, {"order": "int", "items": "json"}, list="items", fields=fields, max_rows=3)
    assert driver.output("out") == [
        {"order": 0, "sku": "a", "count": 2, "at": 1_000, "note": None},
        {"order": 0, "sku": "b", "count": 1, "at": 5, "note": None},
    ]
    letters = driver.dead_letters()
    assert [each["sf-reason"] for each in letters] == ["elements"] * 4
    assert "items: Expected `int`, got `str` - at `$[1].count`" in letters[0]["sf-error"]
    assert "the list has 4 elements, at most 3 are taken" in letters[3]["sf-error"]
    counts = driver.tasks()[0].counters.by_node()["it"]
    assert (counts.rows_in, counts.rows_out, counts.dead) == (6, 2, 4)


def test_flat_map_splits_text_and_types_plain_elements() -> None:
    driver = run("flat_map", [{"words": "a b"}, {"words": ""}], {"words": "str"}, list="split(words, ' ')", into="word")
    assert [row["word"] for row in driver.output("out")] == ["a", "b", ""]
    events = [{"at": [5, "1970-01-01T00:00:01Z"]}]
    driver = run("flat_map", events, {"at": "json"}, list="at", into="time", type="timestamp")
    assert driver.output("out") == [{"time": 5}, {"time": 1_000}]


@pytest.mark.parametrize("shape", [{}, {"chunk_size": 1, "partitions": 3}, {"fused": False, "chunk_size": 7}])
def test_words_are_counted_as_a_batch_counts_them(shape: dict[str, Any]) -> None:
    """Map, filter and reduce, over a repartition by word."""
    lines = [f"the quick fox {number % 5} jumps over the lazy dog {number % 3}" for number in range(60)]
    nodes = {
        "lines": {"kind": "source", "topic": "in", "schema": "Line", "key": "line"},
        "words": {"kind": "flat_map", "input": "lines", "list": "split(line, ' ')", "into": "word", "type": "str"},
        "known": {"kind": "filter", "input": "words", "where": "word != 'the'"},
        "by_word": {"kind": "key_by", "input": "known", "key": "word"},
        "counted": {"kind": "echo", "input": "by_word", "table": "counts"},
        "out": {"kind": "sink", "input": "counted", "topic": "out"},
    }
    schemas = {"Line": {"line": "str"}}
    driver = Driver(make_plan(spec_of({"topology": "t", "schemas": schemas, "nodes": nodes})), **shape)
    driver.publish("in", [{"line": line} for line in lines])
    driver.run()
    words = [word for line in lines for word in line.split(" ") if word != "the"]
    assert driver.table("counts") == Counter(words)


def test_flat_maps_that_cannot_run_are_told() -> None:
    assert "a list is json, this is float" in refused(FlatMap, **{"list": "value"}, into="x")
    assert "an element goes into one field, or has fields" in refused(FlatMap, **{"list": "tags"})
    assert "the row would have 'sensor' twice" in refused(FlatMap, **{"list": "tags"}, into="sensor")
    assert "unknown type 'text'" in refused(FlatMap, **{"list": "tags"}, fields={"a": "text"})


# -- mask -------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=8) | st.none(), st.integers(0, 5))
def test_mask_leaves_the_last_characters(unit: str | None, keep: int) -> None:
    (row,) = run_kind(Mask, [reading(1, unit=unit)], keep_last={"unit": keep}, remove=["tags"])
    expected = unit
    if unit is not None:
        stays = unit[len(unit) - keep :] if 0 < keep < len(unit) else ""
        expected = stays.rjust(len(unit), "*")
    assert (row["unit"], "tags" in row) == (expected, False)


def test_mask_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal values have equal hashes; with a key they are others, and null stays null."""
    rows = [reading(1.5, unit="C"), reading(2.5)]
    plain = run_kind(Mask, rows, hash=["unit", "value"])
    assert [row["unit"] for row in plain] == [hashlib.sha256(b"C").hexdigest(), None]
    assert plain[0]["value"] == hashlib.sha256(b"1.5").hexdigest()
    monkeypatch.setenv("MASK_KEY_OF_TESTS", "secret")
    keyed = run_kind(Mask, rows, hash=["unit"], key_env="MASK_KEY_OF_TESTS")
    assert keyed[0]["unit"] == hmac.new(b"secret", b"C", "sha256").hexdigest()


def test_masks_that_hide_nothing_are_told() -> None:
    assert "the key of the rows shows 'sensor' (key by another field before it" in refused(Mask, hash=["sensor"])
    assert "environment variable NOT_SET is not set" in refused(Mask, hash=["unit"], key_env="NOT_SET")
    assert "'unit' is named twice" in refused(Mask, hash=["unit"], remove=["unit"])
    assert "nothing is hidden" in refused(Mask)


# -- cast -------------------------------------------------------------------------------------------------------------

_NOTHING = object()


def _plain_cast(value: Any, wanted: str) -> Any:
    """What a cast gives, written another way; _NOTHING when there is no such form."""
    try:
        match wanted:
            case "str":
                return value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace("e+", "e")
            case "int":
                found = int(value) if not isinstance(value, float) or value.is_integer() else None
                return found if found is not None and abs(found) < 2**63 else _NOTHING
            case "float":
                return float(value) if math.isfinite(float(value)) else _NOTHING
            case "bool":
                word = (
                    str(value).lower() if isinstance(value, str) else str(int(value) if value == int(value) else value)
                )
                return {"true": True, "1": True, "false": False, "0": False}.get(word, _NOTHING)
            case _:
                if isinstance(value, str) and not value.isdigit():
                    moment = datetime.fromisoformat(value)
                    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
                found = int(value) if not isinstance(value, float) or value.is_integer() else None
                return found if found is not None and abs(found) <= 2**61 else _NOTHING
    except (ValueError, TypeError, OverflowError):
        return _NOTHING


_VALUES = [
    0, 1, -7, 2**62, 1.0, 1.5, 1e300, True, False, "1", "0", "12", "1.5", "1e400", "nan", "true", "FALSE", "x", "",
    "2013-01-01T05:15:00Z", "2013-01-01", [1], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("wanted", ["str", "int", "float", "bool", "timestamp"])
def test_cast_gives_what_is_exact_and_puts_the_rest_aside(wanted: str) -> None:
    events = [{"x": value, "number": number} for number, value in enumerate(_VALUES)]
    expected = [_plain_cast(value, wanted) for value in _VALUES]
    schema = {"x": "json", "number": "int"}
    strict = run("cast", events, schema, fields={"x": wanted})
    assert [row["x"] for row in strict.output("out")] == [each for each in expected if each is not _NOTHING]
    assert len(strict.dead_letters()) == expected.count(_NOTHING)
    lenient = run("cast", events, schema, fields={"x": wanted}, on_error="null")
    assert [row["x"] for row in lenient.output("out")] == [None if each is _NOTHING else each for each in expected]
    assert lenient.dead_letters() == []


def test_cast_writes_timestamps_as_iso_and_leaves_what_fits() -> None:
    (row,) = run_kind(Cast, [reading(1.5, 1_357_016_400_000, unit=None)], fields={"time": "str", "sensor": "str"})
    assert (row["time"], row["unit"]) == ("2013-01-01T05:00:00.000Z", None)


def test_casts_that_cannot_run_are_told() -> None:
    assert "unknown field 'speed'" in refused(Cast, fields={"speed": "int"})
    assert "fields" in refused(Cast, fields={"value": "decimal"})


# -- sample -----------------------------------------------------------------------------------------------------------


def test_sample_passes_its_share_of_the_values_and_all_their_rows() -> None:
    rows = [{"time": number, "sensor": f"s{number % 2_000}", "value": 1.0} for number in range(6_000)]
    counts = Counter(row["sensor"] for row in run_kind(Sample, rows, rate=0.2, by=["sensor"]))
    assert set(counts.values()) == {3}
    assert abs(len(counts) - 400) < 5 * math.sqrt(2_000 * 0.2 * 0.8)
    more = {row["sensor"] for row in run_kind(Sample, rows, rate=0.3, by=["sensor"])}
    assert counts.keys() < more


def test_sample_of_rows_goes_by_all_their_fields() -> None:
    rows = [reading(number / 8, number, unit="C") for number in range(4_000)]
    found = run_kind(Sample, rows, rate=0.5)
    assert abs(len(found) - 2_000) < 5 * math.sqrt(4_000 * 0.25)
    assert found == run_kind(Sample, rows, rate=0.5)


@pytest.mark.parametrize("text", ["{}", "user-{}", "{:08}", "{:x}@example.org"])
def test_shares_are_spread_evenly(text: str) -> None:
    """Chi-square over 20 classes: 43.8 is passed once in 1,000 times."""
    classes = Counter(int(share(text.format(number)) * 20) for number in range(20_000))
    assert sum((count - 1_000) ** 2 / 1_000 for count in classes.values()) < 43.8
    assert len(classes) == 20


# -- normalize --------------------------------------------------------------------------------------------------------


@given(NUMBERS, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_normalize_scales(values: list[float], low: float, width: float, clamp: bool) -> None:
    config = {"field": "value", "method": "min_max", "minimum": low, "maximum": low + width, "clamp": clamp}
    expected = [(value - low) / ((low + width) - low) for value in values]
    if clamp:
        expected = [0.0 if value < 0 else 1.0 if value > 1 else value for value in expected]
    found = [row["value"] for row in run_kind(Normalize, rows_of(values), **config)]
    assert found == pytest.approx(expected, rel=1e-12)
    scored = run_kind(Normalize, rows_of(values), field="value", method="z_score", mean=low, deviation=width, into="z")
    assert [row["z"] for row in scored] == pytest.approx([(value - low) / width for value in values], rel=1e-12)
    assert [row["value"] for row in scored] == values


PERSON = {"Name": " John Doe ", "Home Town": {"ZIP code": 10_115, "Street": "Main ST"}, "tags": ["A ", None, True, 1.5]}


def test_normalize_tidies_texts_at_any_depth() -> None:
    """What people have typed becomes one writing; two keys that become one are told, not overwritten."""
    tidy = {"name": "john doe", "home_town": {"zip_code": 10_115, "street": "main st"}, "tags": ["a", None, True, 1.5]}
    deep: Any = "x"
    for _ in range(70):
        deep = [deep]
    events = [{"who": who} for who in (PERSON, [PERSON, 3], " Plain ", None, {"a b": 1, "A B": 2}, deep)]
    driver = run("normalize", events, {"who": "json?"}, field="who", method="text")
    assert [row["who"] for row in driver.output("out")] == [tidy, [tidy, 3], "plain", None]
    told = [letter["sf-error"] for letter in driver.dead_letters()]
    assert told == ["two keys of an object become 'a_b'", "objects are deeper than 64 levels"]
    driver = run("normalize", [{"a": " X "}, {}], {"a": "str?"}, field="a", method="text", into="b")
    assert driver.output("out") == [{"a": " X ", "b": "x"}, {"a": None, "b": None}]


def test_normalizes_that_cannot_run_are_told() -> None:
    told = refused(Normalize, field="value", method="min_max", minimum=1.0)
    assert "text has no clamp" in refused(Normalize, field="unit", method="text", clamp=True)
    assert "float" in refused(Normalize, field="value", method="text")
    assert "min_max needs maximum (add `maximum: …`, or use normalize_running)" in told
    told = refused(Normalize, field="value", method="min_max", minimum=1.0, maximum=1.0, mean=2.0)
    assert "min_max has no mean" in told
    assert "maximum must be more than minimum" in refused(
        Normalize, field="value", method="min_max", minimum=2.0, maximum=1.0
    )
    told = refused(Normalize, field="sensor", method="z_score", mean=0.0, deviation=1.0)
    assert "float or int is needed here, this is str" in told


def test_parameters_may_come_from_the_event() -> None:
    """From inside of JSON, with a default or without; what has none becomes a dead letter, and no row."""
    inside: list[Any] = [{"at": {"f": 2}}, {"at": {"f": "0.5"}}, {"at": {}}, None]
    rows = [{"time": n, "sensor": "s", "value": 3.0, "tags": tags} for n, tags in enumerate(inside)]
    found = run_kind(Multiply, rows, field="value", factor="{tags.at.f|10}")
    assert [row["value"] for row in found] == [6.0, 1.5, 30.0, 30.0]
    assert [row["value"] for row in run_kind(Multiply, rows, field="value", factor="{tags.at.f}")] == [6.0, 1.5]
    assert [row["time"] for row in run_kind(Threshold, rows, field="value", limit="{tags.at.f|10}")] == [0, 1]
    assert run_kind(Threshold, rows, field="value", limit="{value}", when="at_least") != []


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        ("{valu}", "did you mean 'value'"),
        ("{tags}", "name a member: {tags.member}"),
        ("{value.x}", "it has no members"),
        ("{sensor}", "a number is needed"),
        ("{value.__class__", "is no number and no look-up"),
        ("{tags.a or 1}", "is no number and no look-up"),
        (True, "is no number and no look-up"),
    ],
)
def test_look_ups_that_cannot_be_are_refused_when_the_topology_is_read(factor: Any, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        run_kind(Multiply, [], field="value", factor=factor)
    assert said in " ".join(f"{problem.message} {problem.remedy}" for problem in caught.value.problems)


def test_filter_by_criteria() -> None:
    """Values and inclusive ranges, all of them; what is null fits none."""
    units = ["C", "C", "F", None, "C", "C"]
    rows = [reading(float(value), value, unit=unit) for value, unit in enumerate(units)]
    found = run_kind(Filter, rows, criteria={"unit": "C", "value": {"min": 1, "max": 4}})
    assert [row["value"] for row in found] == [1.0, 4.0]
    assert [row["value"] for row in run_kind(Filter, rows, criteria={"value": {"min": 4.5}})] == [5.0]
    assert [row["value"] for row in run_kind(Filter, rows, criteria={"unit": "F"})] == [2.0]
    assert run_kind(Filter, rows, criteria={"unit": "' or True or '"}) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "give `where` or `criteria`"),
        ({"where": "value > 1", "criteria": {"unit": "C"}}, "give `where` or `criteria`"),
        ({"criteria": {"unitt": "C"}}, "did you mean 'unit'?"),
        ({"criteria": {"value": {"least": 1}}}, "is no range"),
        ({"criteria": {"value": {"min": "1"}}}, "is no range"),
        ({"criteria": {"value": "C"}}, "cannot be compared"),
        ({"criteria": {"unit": {"min": 1}}}, "cannot be compared"),
    ],
)
def test_criteria_that_cannot_be_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        run_kind(Filter, [], **config)
    assert said in " ".join(f"{problem.message} {problem.remedy}" for problem in caught.value.problems)


def test_a_sink_says_who_made_a_record_and_when() -> None:
    nodes = {
        "s": {"kind": "source", "topic": "in", "schema": "E"},
        "doubled": {"kind": "multiply", "input": "s", "field": "value", "factor": 2},
        "out": {"kind": "sink", "input": "doubled", "topic": "out", "stamp": True},
        "plain": {"kind": "sink", "input": "doubled", "topic": "plain"},
    }
    document = {"topology": "t", "version": 3, "schemas": {"E": {"value": "float"}}, "nodes": nodes}
    driver = Driver(make_plan(spec_of(document)))
    for _ in range(2):
        driver.publish("in", [{"value": 1.5}])
        driver.run()
        driver.idle(1_000)
    stamps = [dict(record.headers) for record in driver.records("out")]
    times = [int(each.pop("sf-processed")) for each in stamps]
    assert (
        stamps
        == [{"sf-topology": b"t", "sf-node": b"doubled", "sf-node-version": b"multiply@1.0.0", "sf-version": b"3"}] * 2
    )
    assert times[0] < times[1] <= driver.now_ms
    assert [record.value for record in driver.records("out")] == [record.value for record in driver.records("plain")]
    assert {record.headers for record in driver.records("plain")} == {()}


# -- reduction --------------------------------------------------------------------------------------------------------


def test_a_row_may_say_by_how_much_its_text_became_shorter() -> None:
    """A payload of half the size reads about 50; growth and an empty one read 0."""
    texts = ["", "  ab  ", "0123456789", "x" * 1_001, "ä€"]
    schema = {"text": "str", "more": "json", "may": "str?"}
    made = {
        "tidy": "reduction(text, strip(text))",
        "first": "reduction(text, substring(text, 0, 5))",
        "longer": "reduction(text, str(len(text) + 100000))",
        "nothing": "reduction(may, text)",
        "kept": "reduction(more, at(more, 'kept'))",
    }
    rows = [{"text": text, "more": {"kept": ["abc"] * 10, "gone": ["abc"] * 10}} for text in texts]
    found = run("map", rows, schema, set=made).output("out")
    for text, row in zip(texts, found, strict=True):
        assert row["tidy"] == pytest.approx(100 * (1 - len(text.strip()) / len(text)) if text else 0.0)
        assert row["first"] == pytest.approx(100 * (1 - min(5, len(text)) / len(text)) if text else 0.0)
        assert row["longer"] == (pytest.approx(100 * (1 - 6 / len(text))) if len(text) > 6 else 0.0)
        assert row["nothing"] == 0.0
        whole = len(json.dumps(row["more"], separators=(",", ":")))
        part = len(json.dumps(row["more"]["kept"], separators=(",", ":")))
        assert row["kept"] == pytest.approx(100 * (1 - part / whole))
        assert 50 < row["kept"] < 65
