"""What every kind of node must keep, for the tests of whoever writes one.

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_it_keeps_the_contract_of_a_kind(check):
        check(MyKind)

Each check takes the class and raises AssertionError that says what is wrong. The kind need not be installed. `run_kind`
runs it over rows of READING in the engine that production uses.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pydantic import ValidationError

from streamflow.calls.caller import Outside
from streamflow.engine.process_table import make_node
from streamflow.errors import TopologyError
from streamflow.model.chunk import Record
from streamflow.model.expression import field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeKind
from streamflow.nodes.operators import RESCUABLE, Fold, Operator, Process, Rekey
from streamflow.nodes.registry import KINDS
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.testing.payloads import MemoryPayloads
from streamflow.testing.sample_models import samples
from streamflow.topology.document import spec_of

#: Rows that examples are written for.
READING = Schema(
    "Reading",
    (
        Field("time", FieldType.TIMESTAMP),
        Field("sensor", FieldType.STR),
        Field("value", FieldType.FLOAT),
        Field("unit", FieldType.STR, nullable=True),
        Field("tags", FieldType.JSON, nullable=True),
        Field("seen", FieldType.INT, nullable=True),
    ),
)
#: Rows of the second input of kinds that take their inputs apart; the inputs are called `first` and `second`.
SETTING = Schema(
    "Setting",
    (Field("sensor", FieldType.STR), Field("time", FieldType.TIMESTAMP), Field("limit", FieldType.FLOAT)),
)
#: The global table that examples look into.
TABLE = "sensors"
#: What examples that call to the outside find there: a secret called `example`, payloads in memory, and no host that
#: may be called.
OUTSIDE = Outside(environment={"STREAMFLOW_SECRET_EXAMPLE": "example"}, payloads=MemoryPayloads())
_OUT = "compliance.out"
_FAILED = "compliance.failed"
_WITHOUT_INPUT = ("source", "global_table")
#: Sinks outside of Kafka, which are run with what they write to (tests/sinks).
_OUTSIDE = ("file_sink", "sql_sink")


def _flow(schema: Schema, retention_ms: int | None = None) -> Flow:
    return Flow(schema, field_expression(schema, "sensor"), "sensor", table_retention_ms=retention_ms)


def _made(kind: type[NodeKind]) -> NodeKind:
    with KINDS.lent(kind):
        return kind()


def lowered_example(kind: type[NodeKind], *, repeats: bool = False) -> tuple[Lowered | None, Lowering]:
    """What the example becomes over READING, and what it was told."""
    made, first = kind(), replace(_flow(READING), repeats=repeats)
    inputs = (("first", replace(first, table_retention_ms=1_000)), ("second", _flow(SETTING, 1_000)))
    lowering = Lowering("example", first, {TABLE: _flow(READING)}, inputs if kind.inputs_apart else ())
    return made.lower(kind.config_type.model_validate(dict(kind.example)), lowering), lowering


def metadata_is_complete(kind: type[NodeKind]) -> None:
    """Names, texts, category and version are there for the catalogue."""
    made = _made(kind)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", made.kind), "kind: small letters, digits and _"
    assert made.display_name[:1].isupper(), "display_name begins with a capital"
    assert made.description.endswith("."), "description is a sentence"
    assert (kind.__doc__ or "").strip(), "the class says in its docstring what holds"
    assert made.icon, "icon is missing"
    assert made.category in Category, f"category is one of {', '.join(Category)}"
    assert all(re.fullmatch(r"[a-z-]+", tag) for tag in made.tags), "tags: small letters and dashes"
    assert all(0 < step < int(made.version.split(".")[0]) for step in made.migrations), "migrations of older versions"


def options_are_described(kind: type[NodeKind]) -> None:
    """The JSON schema is what reference pages and forms are made of."""
    schema = kind.config_type.model_json_schema(by_alias=True)
    options = schema.get("properties", {}).items()
    undescribed = [name for name, option in options if not (option.get("description") or "$ref" in option)]
    assert undescribed == [], f"options without a description: {undescribed}"
    assert schema.get("additionalProperties") is False, "the configuration takes unknown keys: derive from NodeConfig"


def example_is_valid(kind: type[NodeKind]) -> None:
    """It validates and lowers over READING without a problem, to an operator the engine knows."""
    lowered, lowering = lowered_example(kind)
    assert lowering.problems == [], f"the example has problems: {lowering.problems}"
    assert lowered is not None, "lower gave None without reporting a problem"
    assert isinstance(lowered.operator, Operator), f"{lowered.operator!r} is no operator"
    names = lowered.output.schema.names
    assert len(set(names)) == len(names), f"a field is there twice: {names}"
    assert (lowered.table is not None) == kind.stateful, "`stateful` says whether it keeps a table"
    assert lowered.rekeys == (kind.kind == "key_by"), "only key_by changes the key"


def unknown_options_are_refused(kind: type[NodeKind]) -> None:
    """A misspelt option must not be ignored, and nothing changes a configuration."""
    found: set[str] = set()
    try:
        kind.config_type.model_validate({**kind.example, "no_such_option": "red"})
    except ValidationError as error:
        found = {each["type"] for each in error.errors()}
    assert found, "an unknown option is taken"
    assert found == {"extra_forbidden"}, f"the example itself is refused: {found}"
    assert kind.config_type.model_config.get("frozen"), "the configuration can be changed: derive from NodeConfig"


def what_is_not_named_passes_on(kind: type[NodeKind]) -> None:
    """Rows keep their key, and whether they repeat, unless the operator is about that."""
    lowered, lowering = lowered_example(kind, repeats=True)
    if lowered is None:
        assert lowering.problems, "lower gave None without reporting a problem"
        return  # rows that repeat are refused
    if kind.kind in _WITHOUT_INPUT or kind.inputs_apart is not None or isinstance(lowered.operator, Fold | Rekey):
        return
    before = _flow(READING)
    assert (lowered.output.key, lowered.output.key_name) == (before.key, "sensor"), "the key is lost"
    assert lowered.output.repeats, "rows that repeat must be said to repeat behind it"


def chunks_do_not_matter(kind: type[NodeKind]) -> None:
    """Any split into chunks, fused or not, gives the same rows, dead letters and tables."""
    if kind.kind in _OUTSIDE:
        return
    expected = _outcome(kind, chunk_size=1_000)
    assert _outcome(kind, chunk_size=1_000) == expected, "the same events gave something else: is it random?"
    for chunk_size, fused in ((1, True), (7, True), (1_000, False)):
        found = _outcome(kind, chunk_size=chunk_size, fused=fused)
        assert found == expected, f"chunks of {chunk_size}, fused={fused} give something else than chunks of 1,000"


def crashes_do_not_matter(kind: type[NodeKind]) -> None:
    """Rows, dead letters and tables are those of an undisturbed run when tasks die around commits and come back."""
    if kind.kind in _OUTSIDE:
        return
    expected = _outcome(kind, chunk_size=1_000)
    for offset, point in ((2, CrashPoint.BEFORE_COMMIT), (3, CrashPoint.BEFORE_STORE)):
        crashes = dict.fromkeys(range(offset, 60, 5), point)
        assert _outcome(kind, chunk_size=11, crashes=crashes) == expected, f"state is not restored after {point}"


def failed_rows_go_on(kind: type[NodeKind]) -> None:
    """Where `node.failed` is read, rows that would be dead letters go there, and all others are the same."""
    lowered, _ = lowered_example(kind)
    if lowered is None or not isinstance(lowered.operator, RESCUABLE) or kind.outputs_of(kind.example):
        return
    expected, found = _outcome(kind, chunk_size=7), _outcome(kind, chunk_size=7, rescued=True)
    failed = found.pop(_FAILED)
    before, after = expected.pop("dead letters"), found.pop("dead letters")
    assert found == expected, "other rows change where failed ones are read"
    assert len(before) == len(after) + len(failed), "a row that failed is lost, or goes on and is a dead letter too"
    assert not [each for each in after if orjson.loads(each)["sf-node"] == "example"], (
        "a dead letter of the node is left"
    )


def closes_after_failure(kind: type[NodeKind]) -> None:
    """A node of Python code is closed also when it could not be opened, and a task that failed can be closed."""
    lowered, _ = lowered_example(kind)
    if lowered is not None and isinstance(lowered.operator, Process):
        _closes_when_open_fails(lowered.operator)
    if kind.kind in _OUTSIDE:
        return
    driver = _Run(kind).driver(chunk_size=1_000)
    driver.close()
    for task in driver.tasks():
        task.close()


def _closes_when_open_fails(operator: Process) -> None:
    closed: list[bool] = []
    target: Any = operator.declared.target

    class Failing(target):  # type: ignore[misc]
        """Opens, then fails, as with a connection that breaks."""

        def open(self) -> None:
            super().open()
            raise ConnectionError("cannot be reached")

        def close(self) -> None:
            super().close()
            closed.append(True)

    try:
        make_node(replace(operator, declared=replace(operator.declared, target=Failing)), "example")
    except TopologyError:
        assert closed == [True], "close is not called after an open that failed"
    else:
        raise AssertionError("an open that fails is not told")


#: Every check by its name.
CHECKS: Mapping[str, Callable[[type[NodeKind]], None]] = {
    check.__name__: check
    for check in (
        metadata_is_complete,
        options_are_described,
        example_is_valid,
        unknown_options_are_refused,
        what_is_not_named_passes_on,
        chunks_do_not_matter,
        crashes_do_not_matter,
        failed_rows_go_on,
        closes_after_failure,
    )
}


def check_kind(kind: type[NodeKind]) -> None:
    """Every check in one call."""
    for check in CHECKS.values():
        check(kind)


def run_kind(kind: type[NodeKind], rows: list[dict[str, Any]], /, **config: Any) -> list[dict[str, Any]]:
    """Rows that a node with one input gives for rows of READING, worked to their end; one output behind another.

    Raises TopologyError for a configuration that cannot run.
    """
    with KINDS.lent(kind):
        plan = bounded(_plan(kind, config, ("readings",)))
        models, cards = samples(plan)
        driver = Driver(plan, outside=OUTSIDE, models=models)
        for topic, card in cards:
            driver.put(topic, *card.record())
        driver.publish("readings", rows)
        driver.finish()
        driver.close()
        topics = [f"{_OUT}.{name}" for name in kind.outputs_of(config)] or [_OUT]
        return [row for topic in topics for row in driver.output(topic)]


def _events() -> tuple[list[dict[str, Any] | bytes], list[dict[str, Any]]]:
    """Readings (somewhat out of order, some that do not decode) and settings."""
    readings: list[dict[str, Any] | bytes] = []
    for number in range(240):
        time = number * 20_000 + (number * 7_919) % 60_000
        reading = {"time": time, "sensor": f"s{number * 31 % 5}", "value": ((number * 13) % 97 - 20) / 2}
        unit = {} if number % 3 == 0 else {"unit": "C"}
        readings.append(reading | unit | {"tags": [f"t{each}" for each in range(number % 4)], "seen": number % 6})
        if number % 60 == 30:
            readings.append(b'{"time": "no time"')
    settings = [{"sensor": f"s{each % 6}", "time": each * 90_000, "limit": each / 2} for each in range(40)]
    return readings, settings


def _plan(kind: type[NodeKind], config: Mapping[str, Any], inputs: tuple[str, ...], *, rescued: bool = False) -> Plan:
    """Sources → the node → a sink. `inputs`: names of readings, settings, or the tables of them.

    rescued: whether the rows that fail there have a sink, too.
    """
    source: dict[str, Any] = {"kind": "source", "key": "sensor", "event_time": "time", "watermark_delay": "2m"}
    source |= {"future": {"limit": "1h", "policy": "accept"}}
    nodes: dict[str, Any] = {"example": {"kind": kind.kind, **config}}
    behind = "example"
    if kind.kind != "source":
        nodes["readings"] = source | {"topic": "readings", "schema": "Reading"}
    if kind.kind == "global_table":
        behind = "readings"
    elif kind.kind != "source":
        names = list(inputs)
        if kind.inputs_apart is not None:
            nodes["settings"] = source | {"topic": "settings", "schema": "Setting"}
            names = ["first", "second"]
            for name, before in zip(names, inputs, strict=True):
                plain = before.removesuffix(" as table")
                node = {"kind": "table", "retention": "1d"} if before != plain else {"kind": "pass_through"}
                nodes[name] = node | {"input": plain}
        nodes["example"]["inputs"] = names
    if kind.kind != "global_table":
        nodes[TABLE] = {"kind": "global_table", "topic": TABLE, "schema": "Reading", "key": "sensor"}
    for name in kind.outputs_of(config):
        nodes[f"out_{name}"] = {"kind": "sink", "input": f"example.{name}", "topic": f"{_OUT}.{name}"}
    if kind.kind not in ("sink", *_OUTSIDE) and not kind.outputs_of(config):
        nodes["out"] = {"kind": "sink", "input": behind, "topic": _OUT}
    if rescued:
        nodes["out_failed"] = {"kind": "sink", "input": "example.failed", "topic": _FAILED}
    schemas = {
        schema.name: {f.name: f"{f.type}{'?' if f.nullable else ''}" for f in schema.fields}
        for schema in (READING, SETTING)
    }
    return make_plan(spec_of({"topology": "compliance", "schemas": schemas, "nodes": nodes}))


@dataclass(frozen=True)
class _Run:
    """A run of a kind's example over all events."""

    kind: type[NodeKind]

    def driver(self, **shape: Any) -> Driver:
        crashes = shape.pop("crashes", {})
        with KINDS.lent(self.kind):
            plan = bounded(self._plan(rescued=shape.pop("rescued", False)))
            models, cards = samples(plan)
            driver = Driver(plan, partitions=2, outside=OUTSIDE, models=models, **shape)
        driver.crash_at = crashes
        for topic, card in cards:
            driver.put(topic, *card.record())
        readings, settings = _events()
        driver.publish(TABLE, settings and [{"time": 0, "sensor": f"s{each}", "value": each} for each in range(3)])
        if "settings" in {entry.topic for stage in driver.plan.stages for entry in stage.entries}:
            driver.publish("settings", settings)
        driver.run()
        for start in range(0, len(readings), 100):
            driver.publish("readings", readings[start : start + 100])
            driver.run()
        driver.finish()
        return driver

    def _plan(self, *, rescued: bool) -> Plan:
        """Of kinds that take their inputs apart the first combination of streams and tables that they take."""
        if self.kind.inputs_apart is None:
            return _plan(self.kind, self.kind.example, ("readings",), rescued=rescued)
        problems: list[TopologyError] = []
        for tables in ((False, False), (False, True), (True, True)):
            names = zip(("readings", "settings"), tables, strict=True)
            try:
                inputs = tuple(f"{name} as table" if table else name for name, table in names)
                return _plan(self.kind, self.kind.example, inputs)
            except TopologyError as error:
                problems.append(error)
        raise AssertionError(f"the example runs over neither streams nor tables: {problems[0]}")


def _last(records: list[Record]) -> dict[bytes, bytes]:
    """The last result of every key that is not gone."""
    found: dict[bytes, bytes] = {}
    for each in records:
        found[each.key or b""] = each.value or b""
    return {key: value for key, value in found.items() if not orjson.loads(value)["deleted"]}


def _outcome(kind: type[NodeKind], **shape: Any) -> dict[str, list[Any]]:
    """Rows of every topic with their keys, dead letters, and tables, each in an order of their own."""
    driver = _Run(kind).driver(**shape)
    driver.close()
    written = {topic.name for topic in driver.plan.topics if topic.role.value == "sink"}
    found: dict[str, list[Any]] = {
        topic: sorted((each.key or b"", each.value or b"") for each in driver.records(topic)) for topic in written
    }
    if kind.settles:
        found = {topic: sorted(_last(driver.records(topic)).items()) for topic in written}
    for letter in (letters := driver.dead_letters()):
        if letter.get("sf-topic", "").startswith("compliance."):
            del letter["sf-offset"]  # watermarks and markers of commits lie between the rows of a topic of our own
    for stage in driver.plan.stages:
        for table in stage.tables:
            rows = [(repr(key), orjson.dumps(value)) for key, value in driver.table(table.name).items()]
            found[f"table {table.name}"] = sorted(rows)
    return found | {"dead letters": sorted(orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in letters)}
