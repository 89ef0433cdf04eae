"""The alert node beside a plain model of it, in every shape and after crashes; rows and bus events agree."""

import random
from typing import Any

import pytest

from streamflow.bus.alert_table import AlertTable
from streamflow.bus.detail import DataPathBus, Detail
from streamflow.bus.event import BusEvent
from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: plant
schemas: {{Reading: {{time: timestamp, sensor: str, value: float?}}}}
nodes:
  readings: {{kind: source, topic: in, schema: Reading, event_time: time, key: sensor}}
  hot:      {{kind: alert, input: readings, {config}}}
  out:      {{kind: sink, input: hot, topic: out}}
"""
_AT_THE_END = bounded(
    make_plan(
        parse_topology("""
topology: plant
schemas: {Reading: {time: timestamp, sensor: str, value: float?}}
nodes:
  readings: {kind: source, topic: in, schema: Reading, event_time: time, watermark_delay: 10s}
  by:       {kind: key_by, input: readings, key: sensor}
  hot:      {kind: alert, input: by, field: value, above: 10, for: 20s}
  out:      {kind: sink, input: hot, topic: hot}
  gone:     {kind: alert, input: by, silent: 15s}
  out2:     {kind: sink, input: gone, topic: gone}
""")
    )
)
_HOT = "field: value, above: 10, for: 5s"
_SILENT = "silent: 20s"
_END = 900_000


def _driver(config: str, **shape: Any) -> Driver:
    plan = make_plan(parse_topology(_TOPOLOGY.format(config=config)))
    return Driver(plan, events=Detail.LIFECYCLE, **shape)


def _severity(value: float, limit: float) -> str:
    return "critical" if value / limit > 1.5 else "warning" if value / limit > 1.2 else "info"


def hot_model(rows: list[tuple[int, str, float | None]], wait_ms: int) -> list[tuple[str, int, str, str]]:
    """(sensor, at, state, severity), each key by itself: rows in order of time, then one breach after the other."""
    said = []
    for sensor in sorted({name for _, name, _ in rows}):
        breach: list[tuple[int, float]] = []
        for time, value in [(time, value) for time, name, value in rows if name == sensor and value is not None]:
            if value > 10:
                breach.append((time, value))
                continue
            said += _told(sensor, breach, time, wait_ms)
            breach = []
        said += _told(sensor, breach, _END, wait_ms)
    return sorted(said)


def _told(sensor: str, breach: list[tuple[int, float]], end: int, wait_ms: int) -> list[tuple[str, int, str, str]]:
    if not breach or end < breach[0][0] + wait_ms:
        return []
    begin, ranks, worst = breach[0][0] + wait_ms, ["info", "warning", "critical"], ""
    said: list[tuple[str, int, str, str]] = []
    for time, value in breach:
        severity = _severity(value, 10)
        if worst and ranks.index(severity) <= ranks.index(worst):
            continue
        worst = severity
        if not said or time < begin:  # a row of that moment moves the watermark there first
            said = [(sensor, begin, "raised", severity)]
        else:
            said.append((sensor, time, "raised", severity))
    return [*said, *([(sensor, end, "cleared", worst)] if end < _END else [])]


def _rows(seed: int) -> list[tuple[int, str, float | None]]:
    chance, time, rows = random.Random(seed), 0, []
    for _ in range(200):
        time += chance.choice([500, 1_000, 4_000])
        rows.append((time, f"s{chance.randrange(3)}", chance.choice([None, 5.0, 9.0, 11.0, 13.0, 16.0, 11.0, 13.0])))
    return rows


def _events(driver: Driver) -> list[BusEvent]:
    found = [BusEvent.decode(record.value) for record in driver.records(EVENTS) if record.value is not None]
    return [event for event in found if event.type.startswith("ALERT_")]


def _run(
    config: str, rows: list[tuple[int, str, float | None]], crashes: dict[int, CrashPoint], **shape: Any
) -> Driver:
    driver = _driver(config, **shape)
    driver.crash_at = crashes
    for start in range(0, len(rows), 23):
        part = rows[start : start + 23]
        driver.publish("in", [{"time": time, "sensor": name, "value": value} for time, name, value in part])
        driver.run()
    return driver


def _agree(driver: Driver) -> None:
    """The bus tells of the same alerts as the rows, and the table folds them."""
    told = [
        (event.data["labels"]["sensor"], event.data["alert"].removeprefix("plant."), event.type)
        for event in _events(driver)
    ]
    states = {"raised": "ALERT_RAISED", "cleared": "ALERT_CLEARED"}
    rows = [(row["sensor"], row["alert"], states[row["state"]]) for row in driver.output("out")]
    assert sorted(told) == sorted(rows)
    table = AlertTable()
    for record in driver.records(EVENTS):
        table.fold(BusEvent.decode(record.value or b"").model_dump(mode="json"))
    ended = {row["alert"] for row in driver.output("out") if row["state"] == "cleared"}
    assert {name.removeprefix("plant.") for name in table.cleared} == ended
    assert {name.removeprefix("plant.") for name in table.open} == {
        row["alert"] for row in driver.output("out")
    } - ended


@pytest.mark.parametrize("seed", range(6))
def test_alerts_are_those_of_the_model_in_any_shape_and_after_crashes(seed: int) -> None:
    chance = random.Random(seed)
    rows = _rows(seed)
    crashes = {chance.randrange(1, 12): chance.choice(list(CrashPoint)) for _ in range(4)}
    wait = chance.choice([0, 5_000])
    config = _HOT if wait else "field: value, above: 10"
    driver = _run(config, rows, crashes, chunk_size=chance.choice([1, 7, 1_000]), fused=chance.random() < 0.5)
    driver.publish("in", [{"time": _END, "sensor": "end", "value": None}])
    driver.run()
    found = sorted((row["sensor"], row["at"], row["state"], row["severity"]) for row in driver.output("out"))
    assert found == hot_model(rows, wait)
    assert len(found) > 10
    _agree(driver)


def test_one_breach_has_one_id_and_another_one_another() -> None:
    rows: list[tuple[int, str, float | None]]
    rows = [(1_000, "a", 11.0), (1_000, "a", 16.0), (1_000, "a", 1.0), (1_000, "a", 11.0), (1_000, "b", 11.0)]
    driver = _run("field: value, above: 10, route: night, summary: hot", rows, {})
    ids = [row["alert"] for row in driver.output("out")]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3
    first = _events(driver)[0]
    assert (first.partitionkey, first.subject, first.severity) == ("alerts", "plant/hot", "info")
    assert (first.data["route"], first.data["summary"], first.data["threshold"]) == ("night", "hot", 10.0)


@pytest.mark.parametrize("crashes", [{}, {2: CrashPoint.BEFORE_STORE, 3: CrashPoint.BEFORE_COMMIT}])
def test_silence_of_a_key_is_raised_in_event_time_and_ends_with_its_next_row(crashes: dict[int, CrashPoint]) -> None:
    rows: list[tuple[int, str, float | None]] = [(1_000, "a", 1.0), (2_000, "b", None)]
    rows += [(time, "b", 1.0) for time in range(3_000, 60_000, 1_000)] + [(60_000, "a", 1.0), (61_000, "b", 1.0)]
    driver = _run(_SILENT, rows, crashes, chunk_size=5)
    found = [(row["sensor"], row["at"], row["state"], row["severity"], row["since"]) for row in driver.output("out")]
    assert found == [("a", 21_000, "raised", "critical", 1_000), ("a", 60_000, "cleared", "critical", 1_000)]
    _agree(driver)


@pytest.mark.parametrize(
    ("seed", "crashes"),
    [
        (0, {}),
        (1, {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE}),
        (2, {3: CrashPoint.BEFORE_STORE}),
        (3, {}),
    ],
)
def test_the_end_of_data_raises_what_streaming_would_have_and_no_more(
    seed: int, crashes: dict[int, CrashPoint]
) -> None:
    chance = random.Random(seed)
    first = {f"s{number}": chance.randrange(60_000) for number in range(15)}
    last = {sensor: time + 8_000 for sensor, time in first.items()}
    moments = sorted((time + more, name) for name, time in first.items() for more in (0, 8_000))
    rows = [{"time": time, "sensor": name, "value": 11.0} for time, name in moments]
    until = max(last.values()) - 10_000
    wanted = {
        "hot": {sensor: time + 20_000 for sensor, time in first.items() if time + 20_000 <= until},
        "gone": {sensor: time + 15_000 for sensor, time in last.items() if time + 15_000 <= until},
    }
    assert all(0 < len(each) < 15 for each in wanted.values())
    for partitions, chunk_size in ((1, 1), (3, 4), (3, 1_000)):
        driver = Driver(_AT_THE_END, partitions=partitions, chunk_size=chunk_size)
        driver.crash_at = dict(crashes)
        for row in rows:
            driver.publish("in", [row], key="sensor" if partitions > 1 else None)
        driver.finish()
        found = {name: {row["sensor"]: row["at"] for row in driver.output(name)} for name in wanted}
        assert found == wanted


def test_keys_that_a_schema_calls_secret_are_not_said() -> None:
    driver = _driver("field: value, above: 10")
    driver._bus = DataPathBus(EVENTS, Detail.LIFECYCLE, secret_fields=frozenset({"sensor"}))
    driver.publish("in", [{"time": 1, "sensor": "a", "value": 11}])
    driver.run()
    assert [event.data["labels"] for event in _events(driver)] == [{"sensor": "***"}]


def test_a_value_that_a_schema_calls_secret_is_not_said() -> None:
    driver = _driver("field: value, above: 10")
    driver._bus = DataPathBus(EVENTS, Detail.LIFECYCLE, secret_fields=frozenset({"value"}))
    driver.publish("in", [{"time": 1, "sensor": "a", "value": 11}, {"time": 2, "sensor": "a", "value": 9}])
    driver.run()
    assert [event.data.get("value") for event in _events(driver)] == [None, None]
    assert driver.output("out")[0]["value"] == 11


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ("field: value", "nodes.hot"),
        ("field: value, above: 1, below: 2", "nodes.hot"),
        ("field: sensor, above: 1", "nodes.hot.field"),
        ("silent: 1s, above: 1", "nodes.hot.silent"),
    ],
)
def test_what_cannot_be_judged_is_refused(config: str, place: str) -> None:
    with pytest.raises(TopologyError) as found:
        _driver(config)
    assert [problem.place for problem in found.value.problems] == [place]
