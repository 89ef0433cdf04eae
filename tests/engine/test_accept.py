"""accept: of writers that race exactly one wins, in every shape, against a plain model of versions."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Write: {id: int, account: str, name: str, seen: int?}}
nodes:
  writes: {kind: source, topic: in, schema: Write}
  by_account: {kind: key_by, input: writes, key: account}
  accounts: {kind: accept, input: by_account, expected: seen}
  taken: {kind: sink, input: accounts.accepted, topic: taken}
  refused: {kind: sink, input: accounts.conflicts, topic: refused}
"""
PLAN = make_plan(parse_topology(_TOPOLOGY))
_WRITES = st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 6))), max_size=40)


def _id(number: int) -> str:
    return f"{number:011x}-{number:032x}"


def _in_order(driver: Driver) -> list[dict[str, Any]]:
    """What the node gave, in the order in which it judged each account."""
    found = driver.output("taken") + driver.output("refused")
    return sorted(found, key=lambda row: (row["account"], row["version"], not row["accepted"]))


@settings(max_examples=60, deadline=None)
@given(
    _WRITES,
    st.sampled_from([1, 3]),
    st.sampled_from([1, 5, 1_000]),
    st.booleans(),
    st.dictionaries(st.integers(1, 8), st.sampled_from(CrashPoint), max_size=3),
)
def test_versions_are_compared_in_the_order_of_the_topic(
    writes: list[tuple[str, int | None]], partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    driver = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=2)
    driver.crash_at = dict(crashes)
    for number, (account, seen) in enumerate(writes):
        event = {"id": number, "account": account, "name": f"n{number}", "seen": seen}
        driver.publish("in", [event], correlation=_id(number))
    driver.run()
    versions: dict[str, int] = defaultdict(int)
    kept: dict[str, dict[str, Any]] = {}
    if partitions == 1:  # else they reach the account's task in an order of its own
        for number, (account, seen) in enumerate(writes):
            fits = seen in (None, versions[account])
            versions[account] += fits
            if fits:
                kept[account] = {"id": number, "account": account, "name": f"n{number}"}
            (told,) = driver.outcome(_id(number)).writes
            assert told == {"node": "accounts", "key": account, "accepted": fits, "version": versions[account]}
        table = {account: {"row_version": versions[account], "row": row} for account, row in kept.items()}
        assert driver.table("accounts") == table
    rows = _in_order(driver)
    assert sorted(row["id"] for row in rows) == list(range(len(writes))), "each is judged once"
    taken = Counter((row["account"], row["version"]) for row in rows if row["accepted"])
    assert all(count == 1 for count in taken.values()), "no version is given twice"
    for row in rows:
        if row["accepted"]:
            assert row["seen"] in (None, row["version"] - 1)
        else:
            assert row["seen"] not in (None, row["version"])


def test_a_write_that_expects_nothing_may_be_refused() -> None:
    text = _TOPOLOGY.replace("expected: seen", "expected: seen, required: true, version: newest, table: kept")
    driver = Driver(make_plan(parse_topology(text)))
    driver.publish("in", [{"id": n, "account": "a", "name": "n", "seen": seen} for n, seen in enumerate([None, 0])])
    driver.run()
    assert [(row["id"], row["newest"]) for row in driver.output("taken")] == [(1, 1)]
    assert [(row["id"], row["newest"]) for row in driver.output("refused")] == [(0, 0)]
    assert driver.table("kept")["a"]["row_version"] == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("expected: seen", "expected: sen", "did you mean 'seen'?"),
        ("expected: seen", "expected: name", "versions are integers"),
        ("expected: seen", "expected: seen, version: name", "there is a field 'name' already"),
        ("expected: seen", "expected: seen, version: accepted", "says whether it was taken"),
        ("input: by_account", "input: writes", "rows have no key here"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said.replace("?", r"\?")):
        make_plan(parse_topology(_TOPOLOGY.replace(old, new)))
