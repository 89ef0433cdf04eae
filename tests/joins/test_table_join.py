"""Tables, and joins with them as of a time, equal the model; current ones see what was read before."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joins import model
from tests.joins.model import Event, counted
from tests.joins.runs import RUNS, Run, late_ids, of_partition, run

_TOPOLOGY = """
topology: t
schemas:
  S: {{t: timestamp, k: str, id: int}}
  V: {{t: timestamp, k: str, id: int, gone: bool}}
nodes:
  stream: {{kind: source, topic: stream, schema: S, event_time: t, watermark_delay: 10ms, key: k}}
  changes: {{kind: source, topic: changes, schema: V, event_time: t, watermark_delay: 60ms, key: k}}
  versions: {{kind: table, input: changes, retention: {retention}ms, versions: {most}, delete_when: gone}}
  j: {{kind: table_join, inputs: [stream, versions], {join}, prefix: {{versions: v_}}, late: late}}
  o: {{kind: sink, input: j, topic: out}}
"""
ONE = Run(1, 100, True, 1, 0, ())


def _text(join: str, retention: int = 0, most: int = 1_000) -> str:
    return _TOPOLOGY.format(join=join, retention=retention, most=most)


def make_versions(seed: int, count: int = 60) -> list[Event]:
    """Changes whose disorder stays within the delay of their source; some end their key."""
    chance = random.Random(seed)
    return [{**event, "gone": chance.random() < 0.2} for event in model.make_stream(seed, count, 60)]


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["inner", "left"]), st.sampled_from([0, 30]), RUNS)
def test_joins_as_of_a_time_equal_the_model(seed: int, kind: str, retention: int, shape: Run) -> None:
    """A row waits until its version is certain, whatever is read first; it leaves once."""
    stream, versions = model.make_stream(seed, 80, 60), make_versions(seed + 1)
    driver = run(_text(f"type: {kind}", retention), {"stream": stream, "changes": versions}, shape)
    rows, late = [], []
    for partition in range(shape.partitions):
        known = of_partition(versions, partition, shape)
        on_time, behind = model.on_time(of_partition(stream, partition, shape), 10, retention)
        late += [event["id"] for event in behind]
        complete_to = max((each["t"] for each in known), default=0) - 60
        for event in on_time:
            version = model.version_at(known, event["k"], event["t"])
            if event["t"] < complete_to and (version is not None or kind == "left"):
                rows.append((event["id"], version and version["id"]))
    assert counted([(row["id"], row["v_id"]) for row in driver.output("out")]) == counted(rows)
    assert late_ids(driver, "late") == sorted(late)
    assert driver.dead_letters() == []
    for key in "abc":
        last = model.version_at(versions, key, 1 << 60)
        assert (driver.table("versions").get(key) or {}).get("id") == (last and last["id"])


def test_current_is_what_was_read_before() -> None:
    """An older version that comes late is not current."""
    driver = run(_text("at: current, type: left"), {}, ONE)

    def joined(number: int) -> int | None:
        driver.publish("stream", [{"t": 5_000, "k": "a", "id": number}])
        driver.run()
        found: int | None = driver.output("out")[-1]["v_id"]
        return found

    assert joined(1) is None
    driver.publish("changes", [{"t": 2_000, "k": "a", "id": 7, "gone": False}])
    driver.run()
    assert joined(2) == 7
    driver.publish("changes", [{"t": 1_000, "k": "a", "id": 8, "gone": False}])
    driver.run()
    driver.crash()
    assert joined(3) == 7
    driver.publish("changes", [{"t": 3_000, "k": "a", "id": 9, "gone": True}])
    driver.run()
    assert joined(4) is None
    assert driver.table("versions") == {}


def test_without_waiting_a_row_takes_the_version_that_is_there() -> None:
    driver = run(_text("wait: false"), {}, ONE)
    driver.publish("changes", [{"t": time, "k": "a", "id": time, "gone": False} for time in (1_000, 2_000)])
    driver.run()
    driver.publish("stream", [{"t": time, "k": "a", "id": time} for time in (999, 1_500, 9_000)])
    driver.run()
    assert [row["v_id"] for row in driver.output("out")] == [1_000, 2_000]


def test_the_oldest_versions_go_first() -> None:
    """Of three versions two are kept."""
    driver = run(_text("wait: false, type: left", 100_000, 2), {}, ONE)
    driver.publish("changes", [{"t": time, "k": "a", "id": time, "gone": False} for time in (1_000, 2_000, 3_000)])
    driver.run()
    driver.publish("stream", [{"t": time, "k": "a", "id": time} for time in (1_500, 2_500, 3_500)])
    driver.run()
    assert [row["v_id"] for row in driver.output("out")] == [None, 2_000, 3_000]


def test_an_idle_table_holds_nobody() -> None:
    """Rows wait for a table that is silent until it is idle; then the stream's own time lets them go."""
    driver = run(_text("type: left"), {}, ONE)
    driver.publish("changes", [{"t": 1_000, "k": "a", "id": 1, "gone": False}])
    driver.publish("stream", [{"t": 2_000 + number, "k": "a", "id": number} for number in range(30)])
    driver.run()
    assert driver.output("out") == []
    assert len(driver.table("j")) == 30
    driver.now_ms += 9_000
    driver.publish("stream", [{"t": 2_030, "k": "a", "id": 30}])
    driver.run()
    driver.idle(2_000)
    driver.publish("stream", [{"t": 2_100, "k": "a", "id": 31}])
    driver.run()
    assert [(row["id"], row["v_id"]) for row in driver.output("out")] == [(number, 1) for number in range(31)]
    assert len(driver.table("j")) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_null_keys_and_too_many_waiting_rows_are_put_aside(fused: bool) -> None:
    text = _text("max_rows: 2").replace("k: str", "k: str?")
    driver = run(text, {}, Run(1, 100, fused, 1, 0, ()))
    driver.publish("changes", [{"t": 1_000, "k": None, "id": 1, "gone": False}])
    driver.publish("stream", [{"t": 1_000, "k": key, "id": 1} for key in (None, "a", "a", "a")])
    driver.run()
    assert sorted(letter["sf-reason"] for letter in driver.dead_letters()) == ["null_key", "null_key", "too_many_rows"]


def test_what_memory_cannot_hold_is_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.engine.versioned_table.MAX_LIVE", 2)
    keys = "abcdefghij"
    driver = run(_text("at: current"), {}, ONE)
    for round_ in range(3):
        driver.publish("changes", [{"t": 1_000 + round_, "k": key, "id": round_, "gone": False} for key in keys])
        driver.run()
        driver.publish("stream", [{"t": 1_000, "k": key, "id": round_} for key in keys])
        driver.run()
    assert [row["v_id"] for row in driver.output("out")] == [0] * 10 + [1] * 10 + [2] * 10


def test_a_row_waits_for_versions_of_its_very_moment() -> None:
    """At a watermark of 1,040 a version of 1,040 may still come; at 1,041 it would be late."""
    driver = run(_text("type: left"), {}, ONE)

    def version(time: int, number: int) -> list[int]:
        driver.publish("changes", [{"t": time, "k": "a", "id": number, "gone": False}])
        driver.run()
        return [row["v_id"] for row in driver.output("out")]

    driver.publish("stream", [{"t": 1_040, "k": "a", "id": 1}])
    assert version(1_000, 1) == []
    assert version(1_100, 2) == []
    assert version(1_040, 3) == []
    assert version(1_101, 4) == [3]
