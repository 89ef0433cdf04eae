"""Joins by foreign key: replaying what comes out gives the join of what the tables have, in every shape."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import asked_table
from streamflow.testing.driver import Driver
from tests.joins import model
from tests.joins.model import Event
from tests.joins.runs import RUNS, Run, run

_TOPOLOGY = """
topology: t
schemas:
  L: {{t: timestamp, k: int, id: int, f: int?, gone: bool}}
  R: {{t: timestamp, k: str, id: int, gone: bool}}
nodes:
  lefts: {{kind: source, topic: lefts, schema: L, event_time: t, key: k}}
  rights: {{kind: source, topic: rights, schema: R, event_time: t, key: k}}
  left: {{kind: table, input: lefts, delete_when: gone}}
  right: {{kind: table, input: rights, delete_when: gone}}
  j: {{kind: foreign_join, inputs: [left, right], key: "{key}", {more}, fields: {{k: left.k, l: left.id, r: right.id}}}}
  o: {{kind: sink, input: j, topic: out}}
  both: {{kind: table, input: j, delete_when: deleted}}
"""
_KEY = "'a' if f == 1 else 'b' if f == 2 else str(10 // f) if f is not None else None"


def _named(left: Event) -> str | None:
    """The key that a left row names: what _KEY says, where it fails (f is 0) none."""
    return {None: None, 0: None, 1: "a", 2: "b"}.get(left["f"], str(10 // (left["f"] or 1)))


def _changes(seed: int, keys: list[Any]) -> list[Event]:
    chance = random.Random(seed)
    changes = []
    for event in model.make_stream(seed, 70, 40):
        names = chance.choice([None, 0, 1, 1, 2, 2, 5])
        changes.append({**event, "k": chance.choice(keys), "f": names, "gone": chance.random() < 0.2})
    return changes


def _joined(left: Event | None, rights: list[Event], kind: str) -> tuple[int, int | None] | None:
    if left is None:
        return None
    right = model.version_at(rights, _named(left), 1 << 60)
    if right is None:
        return (left["id"], None) if kind == "left" else None
    return left["id"], right["id"]


def _replayed(driver: Driver) -> dict[int, tuple[int, int | None]]:
    """The last result of every key; one that is gone must be told once, with the values that it had."""
    last: dict[int, tuple[int, int | None]] = {}
    for row in driver.output("out"):
        if row["deleted"]:
            assert last.pop(row["k"]) == (row["l"], row["r"])
        else:
            last[row["k"]] = row["l"], row["r"]
    return last


@pytest.mark.parametrize("memory", [1_000_000, 2], ids=["in memory", "in the store"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["inner", "left"]), RUNS)
def test_the_last_result_of_a_key_is_the_join_of_the_tables(memory: int, seed: int, kind: str, shape: Run) -> None:
    """Rows change the key that they name, name none, come late and go; whichever task is ahead of the others."""
    lefts, rights = _changes(seed, [1, 2, 3, 22]), _changes(seed + 1, ["a", "b", "2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asked_table, "MAX_LIVE", memory)
        driver = run(_TOPOLOGY.format(key=_KEY, more=f"type: {kind}"), {"lefts": lefts, "rights": rights}, shape)
    last = _replayed(driver)
    current = {key: model.version_at(lefts, key, 1 << 60) for key in (1, 2, 3, 22)}
    expected = {key: _joined(left, rights, kind) for key, left in current.items()}
    assert last == {key: result for key, result in expected.items() if result is not None}
    for table in ("both", "j"):
        assert {key: (row["l"], row["r"]) for key, row in driver.table(table).items()} == last
    for named, asked in driver.table("j_answers").items():
        left = current[asked["by"]]
        assert left is not None
        assert (named, asked["row"]["id"]) == (_named(left), left["id"])
    dead = driver.dead_letters()
    assert {(each["sf-reason"], each["sf-node"]) for each in dead} <= {("expression", "j_subscriptions")}


def _changer(more: str, shape: Run) -> Any:
    driver = run(_TOPOLOGY.format(key="str(f) if f is not None else None", more=more), {}, shape)

    def change(topic: str, time: int, key: Any, number: int, f: int | None = None, gone: bool = False) -> Any:
        before = len(driver.output("out"))
        driver.publish(topic, [{"t": time, "k": key, "id": number, "f": f, "gone": gone}])
        driver.run()
        return [(row["k"], row["l"], row["r"], row["deleted"]) for row in driver.output("out")[before:]]

    return driver, change


def test_every_change_of_either_side_is_told() -> None:
    driver, change = _changer("type: inner", Run(1, 10, True, 1, 0, ()))
    assert change("lefts", 1_000, 1, 10, 7) == []
    assert change("lefts", 1_000, 2, 20, 7) == []
    assert change("rights", 1_001, "7", 30) == [(1, 10, 30, False), (2, 20, 30, False)]
    assert change("rights", 900, "7", 31) == [], "an older version changes nothing"
    driver.crash()
    assert change("lefts", 1_002, 1, 11, 8) == [(1, 10, 30, True)], "it names a key without a row"
    assert change("rights", 1_003, "7", 32) == [(2, 20, 32, False)]
    assert change("rights", 1_004, "8", 33) == [(1, 11, 33, False)]
    assert change("rights", 1_005, "7", 34, gone=True) == [(2, 20, 32, True)]
    assert change("rights", 1_006, "7", 35, gone=True) == []
    assert change("lefts", 1_007, 1, 12, None) == [(1, 11, 33, True)]
    assert change("lefts", 1_008, 1, 13, gone=True) == []
    assert change("lefts", 500, 1, 14, 8) == [], "older than what is gone"
    assert change("lefts", 2_000, 1, 15, 8) == [(1, 15, 33, False)]
    assert driver.table("j") == {1: {"k": 1, "l": 15, "r": 33}}
    assert driver.table("j_subscriptions") == {None: {"version": 6}}


def test_rows_beyond_the_bound_of_a_key_have_no_result() -> None:
    """The one that was there before it named this key is gone, the row is a dead letter."""
    driver, change = _changer("max_rows: 1", Run(1, 10, False, 1, 0, ()))
    for number, key in enumerate(("7", "8")):
        change("rights", 1_000, key, number)
    assert change("lefts", 1_000, 1, 10, 7) == [(1, 10, 0, False)]
    assert change("lefts", 1_001, 2, 20, 8) == [(2, 20, 1, False)]
    assert change("lefts", 1_002, 2, 21, 7) == [(2, 20, 1, True)]
    assert [each["sf-reason"] for each in driver.dead_letters()] == ["too_many_rows"]
    assert change("lefts", 1_003, 1, 11, 8) == [(1, 11, 1, False)]
    assert change("lefts", 1_004, 2, 22, 7) == [(2, 22, 0, False)]


def test_a_table_is_joined_with_itself_behind_a_key_by() -> None:
    """Employees with their bosses."""
    topology = """
topology: t
schemas: {E: {t: timestamp, id: str, boss: str?}}
nodes:
  changes: {kind: source, topic: t.employees, schema: E, event_time: t, key: id}
  employees: {kind: table, input: changes}
  by_id: {kind: key_by, input: changes, key: id}
  bosses: {kind: table, input: by_id}
  bossed: {kind: foreign_join, inputs: [employees, bosses], key: boss, prefix: {bosses: b_}, type: left}
"""
    rows = [{"t": 1_000 + n, "id": f"e{n}", "boss": f"e{n // 2}" if n else None} for n in range(9)]
    driver = run(topology, {"t.employees": rows}, Run(3, 2, True, 1, 0, ()))
    bossed = {key: (row["boss"], row["b_id"], row["b_t"]) for key, row in driver.table("bossed").items()}
    assert bossed == {
        f"e{n}": (f"e{n // 2}", f"e{n // 2}", 1_000 + n // 2) if n else (None, None, None) for n in range(9)
    }
