"""Keys of tables end by event time: for joins, outputs, the store and its changelog."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import fold_table
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.joins import model
from tests.joins.model import Event, counted
from tests.joins.runs import RUNS, Run, of_partition, run
from tests.joins.test_table_join import make_versions

_AS_OF = """
topology: t
schemas:
  S: {{t: timestamp, k: str, id: int}}
  V: {{t: timestamp, k: str, id: int, gone: bool}}
nodes:
  stream: {{kind: source, topic: stream, schema: S, event_time: t, watermark_delay: 10ms, key: k}}
  changes: {{kind: source, topic: changes, schema: V, event_time: t, watermark_delay: 60ms, key: k}}
  versions: {{kind: table, input: changes, retention: {retention}ms, ttl: {ttl}ms, delete_when: gone}}
  j: {{kind: table_join, inputs: [stream, versions], type: left, prefix: {{versions: v_}}, late: late}}
  o: {{kind: sink, input: j, topic: out}}
"""


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 20, 150, 5_000]), st.sampled_from([0, 30]), RUNS)
def test_a_version_is_none_any_more_when_its_time_is_over(seed: int, ttl: int, retention: int, shape: Run) -> None:
    stream, versions = model.make_stream(seed, 80, 60), make_versions(seed + 1)
    text = _AS_OF.format(retention=retention, ttl=ttl)
    driver = run(text, {"stream": stream, "changes": versions}, shape)
    rows = []
    for partition in range(shape.partitions):
        known = of_partition(versions, partition, shape)
        on_time, _ = model.on_time(of_partition(stream, partition, shape), 10, retention)
        complete_to = max((each["t"] for each in known), default=0) - 60
        for event in on_time:
            version = model.version_at(known, event["k"], event["t"])
            holds = version is not None and version["t"] + ttl > event["t"]
            if event["t"] < complete_to:
                rows.append((event["id"], version["id"] if holds and version else None))
    assert counted([(row["id"], row["v_id"]) for row in driver.output("out")]) == counted(rows)
    assert driver.dead_letters() == []


_ENDS = make_plan(
    parse_topology("""
topology: t
schemas: {V: {t: timestamp, k: str, id: int}}
nodes:
  changes: {kind: source, topic: changes, schema: V, event_time: t, key: k}
  others: {kind: source, topic: others, schema: V, event_time: t, key: k}
  left: {kind: table, input: changes, retention: 100ms, ttl: 160ms}
  right: {kind: table, input: others}
  both: {kind: tables_join, inputs: [left, right], type: left, prefix: {right: r_}}
  doubled: {kind: map, input: left, set: {twice: id * 2}}
  o1: {kind: sink, input: left, topic: rows}
  o2: {kind: sink, input: both, topic: both}
  o3: {kind: sink, input: doubled, topic: doubled}
""")
)


def _row(time: int, key: str, number: int) -> Event:
    return {"t": time, "k": key, "id": number}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.sampled_from([1, 3, 20_000]),
    st.dictionaries(st.integers(1, 60), st.sampled_from(CrashPoint), max_size=8),
)
def test_what_has_ended_is_told_once_and_leaves(
    chunk_size: int, fused: bool, closing_rows: int, crashes: dict[int, CrashPoint]
) -> None:
    """20 keys of one moment, of which two go on; the rest end at the first of the borders behind 1,160."""
    driver = Driver(_ENDS, chunk_size=chunk_size, fused=fused)
    driver.crash_at = dict(crashes)
    keys = [f"k{n}" for n in range(20)]

    def put(*rows: Event) -> None:
        for topic in ("changes", "others"):
            driver.publish(topic, list(rows) if topic == "changes" else [_row(rows[-1]["t"], "clock", 0)])
        driver.run()

    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(fold_table, "CLOSING_ROWS", closing_rows)
        put(*(_row(1_000, key, n) for n, key in enumerate(keys)))
        put(_row(1_100, "k3", 103), _row(1_120, "k4", 104))
        put(_row(1_155, "clock", 0))
        assert _ended(driver) == []
        put(_row(1_165, "clock", 0))
        gone = sorted(set(keys) - {"k3", "k4"})
        assert _ended(driver) == gone
        assert set(driver.table("left")) == {"k3", "k4", "clock"}
        deleted = sorted(row["k"] for row in driver.output("both") if row["deleted"])
        assert deleted == gone
        assert {row["id"] for row in driver.output("both") if row["deleted"]} == set(range(20)) - {3, 4}
        # A key comes back, and one that goes on ends later.
        put(_row(1_170, "k0", 200))
        assert driver.table("left")["k0"]["id"] == 200
        put(_row(1_270, "clock", 0))
        assert _ended(driver) == sorted([*gone, "k3"])
        for _ in range(30):
            put(_row(1_275, "clock", 0))
        driver.crash()
        driver.run()
        put(_row(1_276, "clock", 0))
        assert _stored(driver) == {"k0", "k3", "k4", "clock"}
    assert len(driver.output("doubled")) == sum(record.value is not None for record in driver.records("rows"))
    assert driver.dead_letters() == []


def _ended(driver: Driver) -> list[str]:
    return sorted(record.key.decode() for record in driver.records("rows") if record.value is None and record.key)


def _stored(driver: Driver) -> set[str]:
    (store,) = (store for (_, partition), store in driver._stores.items() if partition == 0)
    return {key.decode() for key, _ in store.scan("left")}


def test_a_key_that_is_deleted_again_leaves_too() -> None:
    """It came back before its first deletion was old enough to leave."""
    text = """
topology: t
schemas: {V: {t: timestamp, k: str, gone: bool}}
nodes:
  changes: {kind: source, topic: changes, schema: V, event_time: t, key: k}
  left: {kind: table, input: changes, retention: 100ms, delete_when: gone}
  o: {kind: sink, input: left, topic: rows}
"""
    driver = Driver(make_plan(parse_topology(text)))
    for time, gone in ((1_000, False), (1_010, True), (1_050, False), (1_090, True)):
        driver.publish("changes", [{"t": time, "k": "a", "gone": gone}])
        driver.run()
    for time in (1_105, 1_150, 1_180, 1_185):
        driver.publish("changes", [{"t": time, "k": "clock", "gone": False}])
        driver.run()
        assert _stored(driver) == {"a", "clock"}
    for _ in range(3):
        driver.publish("changes", [{"t": 1_200, "k": "clock", "gone": False}])
        driver.run()
    assert _stored(driver) == {"clock"}


def test_the_end_of_a_bounded_run_ends_no_key() -> None:
    driver = Driver(bounded(_ENDS))
    driver.publish("changes", [_row(1_000, "a", 1), _row(1_500, "b", 2)])
    driver.publish("others", [_row(1_500, "a", 3)])
    driver.run()
    driver.finish()
    assert _ended(driver) == ["a"]
    assert set(driver.table("left")) == {"b"}


def test_a_join_by_foreign_key_loses_what_has_ended() -> None:
    """On both sides: the row that names a key, and the row of the key."""
    text = """
topology: t
schemas:
  O: {t: timestamp, id: str, customer: str}
  C: {t: timestamp, c: str, name: str}
nodes:
  orders: {kind: source, topic: orders, schema: O, event_time: t, key: id}
  people: {kind: source, topic: people, schema: C, event_time: t, key: c}
  placed: {kind: table, input: orders, ttl: 160ms}
  known: {kind: table, input: people, ttl: 320ms}
  j: {kind: foreign_join, inputs: [placed, known], key: customer, type: left, prefix: {known: r_}}
  o: {kind: sink, input: j, topic: out}
"""
    driver = Driver(make_plan(parse_topology(text)))

    def put(time: int, *ids: str) -> list[tuple[Any, ...]]:
        """What comes of orders of Ann at a time; others carry the time on."""
        seen = len(driver.output("out"))
        driver.publish("people", [{"t": time, "c": "x", "name": "X"}])
        driver.publish("orders", [{"t": time, "id": each, "customer": "ann"} for each in ids])
        driver.publish("orders", [{"t": time, "id": f"clock{time}", "customer": "nobody"}])
        driver.run()
        rows = driver.output("out")[seen:]
        return [(row["id"], row["r_name"], row["deleted"]) for row in rows if row["customer"] == "ann"]

    driver.publish("people", [{"t": 1_000, "c": "ann", "name": "Ann"}])
    assert put(1_000, "o1") == [("o1", "Ann", False)]
    assert put(1_165) == [("o1", "Ann", True)]
    assert put(1_200, "o2") == [("o2", "Ann", False)]
    assert put(1_330) == [("o2", None, False)]
