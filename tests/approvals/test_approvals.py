"""Approvals against a model, in every shape, with a crash at each checkpoint; and time behind them."""

import json
import random
from collections import Counter
from typing import Any

import orjson
import pytest

from streamflow.bus.detail import Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.approvals.model import Model

_PEOPLE = ["ann", "bob", "cyd", "dan", "eve", "fay"]
_TOPOLOGY = """
topology: t
schemas: {{Order: {{time: timestamp, shop: str, city: str, number: int, notes: json?}}}}
nodes:
  orders:  {{kind: source, topic: in, schema: Order, event_time: time, key: shop, idle_after: 100ms}}
  placed:  {{kind: {before}}}
  gate:    {{kind: approval, input: placed, {config}}}
  good:    {{kind: sink, input: gate.approved, topic: approved}}
  bad:     {{kind: sink, input: gate.rejected, topic: rejected}}
  old:     {{kind: sink, input: gate.expired, topic: expired}}
  by_city: {{kind: key_by, input: gate.approved, key: city}}
  counts:  {{kind: window, input: by_city, window: {{type: tumbling, size: 10ms}}, aggregate: {{n: count()}}, late: too_late}}
  out:     {{kind: sink, input: counts, topic: counts}}
"""
_NAMED = _TOPOLOGY.replace("idle_after: 100ms", "idle_after: 100ms, execution_id: number")
_PASS = "pass_through, input: orders"
_REKEY = "key_by, input: orders, key: city"
_WALL = "quorum: 2, approvers: [ann, bob, cyd], deadline: 500ms, escalate_after: 200ms, escalate_to: [dan, ann]"


def _plan(config: str, before: str = _PASS) -> Plan:
    return make_plan(parse_topology(_TOPOLOGY.format(config=config, before=before)))


class Story:
    """Does the same to a driver and to a model, and compares them after each step."""

    def __init__(self, driver: Driver, model: Model, seed: int) -> None:
        self.driver, self.model, self._chance = driver, model, random.Random(seed)
        self._published = 0

    def publish(self, count: int) -> None:
        rows = []
        for _ in range(count):
            number = self._published = self._published + 1
            row = {"time": number, "shop": f"s{number % 5}", "city": f"c{number % 3}", "number": number}
            rows.append(row | ({"notes": {"big": [1, None, 2.5, "x"]}} if number % 4 else {"notes": None}))
            self.model.park(number, self.driver.now_ms)
        self.driver.publish("in", rows)
        self._settle()

    def talk(self, count: int) -> None:
        ids = {row["row"]["number"]: key for key, row in self.driver.table("gate").items()}
        for _ in range(count):
            known = [*self.model.waiting, *self.model.left]
            if not known:
                return
            number, who = self._chance.choice(known), self._chance.choice(_PEOPLE)
            what = self._chance.choice(["approve", "approve", "reject", "delegate", "nonsense"])
            more = {"comment": f"by {who}"} if self._chance.random() < 0.5 else {}
            if what == "delegate":
                more["to"] = self._chance.choice(_PEOPLE)
            approval = ids.get(number, "0-" + "0" * 27)  # of rows that have left: nobody waits for it
            for _ in range(self._chance.choice([1, 1, 2])):  # whoever does not know whether it came says it again
                self.driver.decide("gate", approval, what, who, **more)
            if what != "nonsense":
                self.model.say(number, who, what, more.get("comment"), more.get("to"))
        self._settle()

    def wait(self, by_ms: int) -> None:
        self.driver.idle(by_ms)
        for _ in range(3):  # a crash may have lost what the clock did
            self.driver.idle(0)
        self.model.pass_time(self.driver.now_ms)
        self._compare()

    def _settle(self) -> None:
        self.driver.run()
        self._compare()

    def _compare(self) -> None:
        waiting = {row["row"]["number"]: row for row in self.driver.table("gate").values()}
        assert waiting.keys() == self.model.waiting.keys()
        for number, modelled in self.model.waiting.items():
            shown = waiting[number]
            assert (shown["approvers"], shown["escalated"]) == (modelled.approvers, modelled.escalated)
            assert [(v["actor"], v["decision"], v["comment"]) for v in shown["votes"]] == modelled.votes
            assert shown["row"]["notes"] == ({"big": [1, None, 2.5, "x"]} if number % 4 else None)
        left: dict[int, Any] = {}
        for topic in ("approved", "rejected", "expired"):
            for row in self.driver.output(topic):
                assert row["number"] not in left, "a row leaves once"
                account = row["approval"]
                votes = [(v["actor"], v["decision"], v["comment"]) for v in account["votes"]]
                left[row["number"]] = (topic, votes)
                assert account["outcome"] == topic
        assert left == self.model.left


def _told(driver: Driver, seed: int) -> Story:
    story = Story(driver, Model(2, ["ann", "bob", "cyd"], 500, 200, ("dan", "ann")), seed)
    for count, words, pause in [(7, 6, 150), (0, 9, 100), (12, 15, 260), (3, 20, 400), (0, 5, 600), (5, 0, 50)]:
        story.publish(count)
        story.talk(words)
        story.wait(pause)
        story.talk(words // 2)
    return story


@pytest.mark.parametrize("before", [_PASS, _REKEY])
@pytest.mark.parametrize(
    ("chunk", "fused", "partitions", "overlap"), [(1, True, 1, False), (3, False, 3, True), (100, True, 2, False)]
)
def test_decisions_escalation_and_expiry_are_those_of_the_model(
    before: str, chunk: int, fused: bool, partitions: int, overlap: bool
) -> None:
    plan = _plan(_WALL, before)
    outcomes: Counter[str] = Counter()
    for seed in range(3):
        shape = {"chunk_size": chunk, "fused": fused, "partitions": partitions, "overlap": overlap}
        driver = Driver(plan, events=Detail.LIFECYCLE, **shape)  # type: ignore[arg-type]
        story = _told(driver, seed)
        assert _decided(driver) == sorted(_accounts(driver)), "the log knows who said what, and whose word settled it"
        outcomes.update(outcome for outcome, _ in story.model.left.values())
        story.wait(1_000)
        driver.publish("in", [{"time": 10_000, "shop": f"s{n}", "city": f"c{n}", "number": 0} for n in range(9)])
        driver.run()
        driver.idle()
        approved = sum(outcome == "approved" for outcome, _ in story.model.left.values())
        assert sum(row["n"] for row in driver.output("counts")) == approved, "none was late behind it"
        assert driver.dead_letters() == []
    assert len(outcomes) == 3


@pytest.mark.parametrize("point", list(CrashPoint))
@pytest.mark.parametrize("overlap", [False, True])
def test_a_crash_at_any_checkpoint_changes_nothing(point: CrashPoint, overlap: bool) -> None:
    plan = _plan(_WALL, _REKEY)
    commits = 0
    while True:
        driver = Driver(plan, chunk_size=4, partitions=2, overlap=overlap)
        commits += 3
        driver.crash_at = {commits: point, commits + 2: point}
        _told(driver, 7)
        if driver._commits < commits:
            break
    assert commits > 40


def test_event_time_runs_the_deadline_without_a_clock() -> None:
    driver = Driver(_plan("deadline: 50ms, clock: event"))
    driver.publish("in", [{"time": at, "shop": "a", "city": "c", "number": at} for at in (10, 30)])
    driver.run()
    driver.publish("in", [{"time": 60, "shop": "a", "city": "c", "number": 60}])
    driver.run()
    assert [row["number"] for row in driver.output("expired")] == [10]
    driver.publish("in", [{"time": 5, "shop": "a", "city": "c", "number": 5}])  # its deadline has passed before it came
    driver.run()
    assert [row["number"] for row in driver.output("expired")] == [10, 5]
    assert sorted(row["row"]["number"] for row in driver.table("gate").values()) == [30, 60]


@pytest.mark.parametrize(("time", "late"), [("decision", 0), ("event", 1)])
def test_what_waited_is_late_behind_it_only_if_it_keeps_its_time(time: str, late: int) -> None:
    driver = Driver(_plan(f"time: {time}"))
    driver.publish("in", [{"time": 1, "shop": "a", "city": "c", "number": 1}])
    driver.run()
    (first,) = driver.table("gate")
    driver.publish("in", [{"time": 1_000, "shop": "a", "city": "c", "number": 2}])
    driver.run()
    driver.idle()
    driver.decide("gate", first, "approve", "ann")
    driver.run()
    assert len(driver.output("too_late")) == late


def test_the_bound_of_what_waits() -> None:
    driver = Driver(_plan("max_parked: 2"))
    driver.publish("in", [{"time": at, "shop": "a", "city": "c", "number": at} for at in range(3)])
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["approvals_full"]
    driver.decide("gate", next(iter(driver.table("gate"))), "approve", "ann")
    driver.run()
    driver.publish("in", [{"time": 9, "shop": "a", "city": "c", "number": 9}])
    driver.run()
    assert len(driver.table("gate")) == 2
    assert len(driver.dead_letters()) == 1


def test_ten_thousand_wait_survive_a_crash_and_are_decided() -> None:
    plan = make_plan(parse_topology(_NAMED.format(config="quorum: 1", before=_PASS)))
    driver = Driver(plan, partitions=4, events=Detail.LIFECYCLE)
    rows = [{"time": n, "shop": f"s{n}", "city": "c", "number": n} for n in range(10_000)]
    driver.publish("in", rows)
    driver.run()
    driver.crash()
    waiting = driver.table("gate")
    assert len(waiting) == 10_000
    assert _executions(driver) == {("paused", 1): 10_000}
    for approval, row in waiting.items():
        driver.decide("gate", approval, "reject" if row["row"]["number"] % 3 else "approve", "ann")
    driver.crash()
    driver.run()
    assert driver.table("gate") == {}
    assert sorted(row["number"] for row in driver.output("approved")) == list(range(0, 10_000, 3))
    assert len(driver.output("rejected")) == 6_666
    assert _executions(driver) == {("completed", 1): 6_666, ("completed", 2): 3_334}, "those approved are counted too"


def _accounts(driver: Driver) -> list[tuple[str, str, str, str]]:
    """(approval, outcome, votes and delegations, whose word settled it) of the rows that left."""
    accounts = [row["approval"] for topic in ("approved", "rejected", "expired") for row in driver.output(topic)]
    return [
        (
            each["id"],
            each["outcome"],
            json.dumps([each["votes"], each["delegations"]]),
            "" if each["outcome"] == "expired" else each["votes"][-1]["actor"],
        )
        for each in accounts
    ]


def _decided(driver: Driver) -> list[tuple[str, str, str, str]]:
    """The same, as the bus tells it."""
    events = [orjson.loads(record.value or b"") for record in driver.records(EVENTS)]
    return sorted(
        (
            event["data"]["approval"],
            event["data"]["decision"],
            json.dumps([event["data"]["votes"], event["data"]["delegations"]]),
            event.get("actor", ""),
        )
        for event in events
        if event["type"] == "APPROVAL_DECIDED"
    )


def _executions(driver: Driver) -> Counter[tuple[str, int]]:
    """How many there are by state and by the number of pieces, going on or ended."""
    table = ExecutionTable()
    ends: Counter[str] = Counter()
    for record in driver.records(EVENTS):
        event = orjson.loads(record.value or b"")
        table.add(event)
        ends[event["partitionkey"]] += event["type"] == "EXECUTION_COMPLETED"
    rows = orjson.loads(table.encode())["rows"]
    return Counter((row["state"], row["pieces"] or ends[name]) for name, row in rows.items())


_PROBLEMS = [
    ("quorum: 2, approvers: [ann]", "2 of 1 cannot approve"),
    ("approvers: [ann, ann]", "somebody is named twice"),
    ("account: city", "there is a field 'city' already"),
    ("escalate_after: 1h, approvers: [ann]", "escalate_after and escalate_to go together"),
    ("escalate_after: 1h, escalate_to: [bob]", "anybody may decide"),
    ("deadline: 1h, escalate_after: 1h, approvers: [ann], escalate_to: [bob]", "after its deadline"),
]


@pytest.mark.parametrize(("config", "message"), _PROBLEMS)
def test_what_does_not_fit_together_is_a_problem(config: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        _plan(config)
