"""Joins of two tables: replaying what comes out gives the join of what the tables have, at every moment."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joins import model
from tests.joins.model import Event
from tests.joins.runs import RUNS, Run, run

_TOPOLOGY = """
topology: t
schemas: {{V: {{t: timestamp, k: str, id: int, gone: bool}}}}
nodes:
  lefts: {{kind: source, topic: lefts, schema: V, event_time: t, key: k}}
  rights: {{kind: source, topic: rights, schema: V, event_time: t, key: k}}
  left: {{kind: table, input: lefts, delete_when: gone}}
  right: {{kind: table, input: rights, delete_when: gone}}
  j: {{kind: tables_join, inputs: [left, right], type: {type}, fields: {{k: left.k, l: left.id, r: right.id}}}}
  o: {{kind: sink, input: j, topic: out}}
  both: {{kind: table, input: j, delete_when: deleted}}
"""


def _changes(seed: int) -> list[Event]:
    chance = random.Random(seed)
    return [{**event, "gone": chance.random() < 0.3} for event in model.make_stream(seed, 60, 40)]


def _joined(left: Event | None, right: Event | None, kind: str) -> tuple[Any, Any] | None:
    if (left is None and kind in ("inner", "left")) or (right is None and kind in ("inner", "right")):
        return None
    return None if left is None and right is None else (left and left["id"], right and right["id"])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["inner", "left", "right", "full"]), RUNS)
def test_the_last_result_of_a_key_is_the_join_of_the_tables(seed: int, kind: str, shape: Run) -> None:
    """Whatever was read first; a result that is gone is told once, with the values that it had."""
    left, right = _changes(seed), _changes(seed + 1)
    driver = run(_TOPOLOGY.format(type=kind), {"lefts": left, "rights": right}, shape)
    last: dict[str, tuple[Any, Any] | None] = {}
    for row in driver.output("out"):
        if row["deleted"]:
            assert last.get(row["k"]) == (row["l"], row["r"])
        last[row["k"]] = None if row["deleted"] else (row["l"], row["r"])
    for key in "abc":
        versions = [model.version_at(events, key, 1 << 60) for events in (left, right)]
        assert last.get(key) == _joined(versions[0], versions[1], kind)
    kept = {key: (row["l"], row["r"]) for key, row in driver.table("both").items()}
    assert kept == {key: row for key, row in last.items() if row is not None}
    assert driver.dead_letters() == []


def test_every_change_of_either_side_is_told() -> None:
    driver = run(_TOPOLOGY.format(type="left"), {}, Run(1, 10, True, 1, 0, ()))

    def change(topic: str, time: int, number: int, gone: bool = False) -> list[tuple[Any, Any, bool]]:
        before = len(driver.output("out"))
        driver.publish(topic, [{"t": time, "k": "a", "id": number, "gone": gone}])
        driver.run()
        return [(row["l"], row["r"], row["deleted"]) for row in driver.output("out")[before:]]

    assert change("rights", 1_000, 1) == []
    assert change("lefts", 1_000, 2) == [(2, 1, False)]
    assert change("rights", 1_001, 3) == [(2, 3, False)]
    assert change("rights", 900, 4) == [], "an older version changes nothing"
    assert change("rights", 1_002, 5, gone=True) == [(2, None, False)]
    driver.crash()
    assert change("lefts", 1_003, 6, gone=True) == [(2, None, True)]
    assert change("lefts", 1_004, 7, gone=True) == []
    assert driver.table("both") == {}
