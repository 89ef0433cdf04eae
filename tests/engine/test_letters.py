"""What a dead letter says: where, which class, which stack, which state, how often."""

import hashlib
from typing import Any

import orjson
import pytest

from streamflow.engine.letters import ERROR_MAX_CHARS, HEADERS_MAX_BYTES, STACK_MAX_FRAMES, stack_of
from streamflow.model.chunk import Record
from streamflow.model.letter import Decision, Letter, LetterFilter, LetterState
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
version: 7
schemas: {Order: {t: timestamp, k: str, op: str, a: int, b: int, id: int}}
nodes:
  s: {kind: source, topic: in, schema: Order, event_time: t, key: k}
  p: {kind: process, input: s, call: "tests.kit.nodes:Scripted", table: told}
  o: {kind: sink, input: p, topic: out}
  m: {kind: map, input: s, set: {share: 1 / b}}
  mo: {kind: sink, input: m, topic: shares}
  by_op: {kind: key_by, input: s, key: op}
  n: {kind: window, input: by_op, window: {type: tumbling, size: 1s}, aggregate: {rest: "sum(1 / a)"}}
"""


def _order(op: str = "add", a: int = 1, b: int = 1) -> dict[str, Any]:
    return {"t": 1_000, "k": "key", "op": op, "a": a, "b": b, "id": 1}


def _run(*events: dict[str, Any] | bytes, fused: bool = True) -> Driver:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY)), fused=fused)
    driver.publish("in", events)
    driver.run()
    return driver


@pytest.mark.parametrize("fused", [True, False])
def test_a_failing_node_of_a_person_shows_its_stack_and_the_state_that_the_changelog_has(fused: bool) -> None:
    driver = _run(_order(a=5), _order("fail"), fused=fused)
    (letter,) = driver.dead_letters()
    assert (letter["sf-node"], letter["sf-node-version"], letter["sf-version"]) == ("p", "process@1.0.0", "7")
    assert (letter["sf-class"], letter["sf-blame"], letter["sf-attempts"]) == ("permanent", "user", "1")
    frames = [frame.partition(":")[0] for frame in letter["sf-stack"].splitlines()]
    assert frames == ["streamflow.kit.run", "streamflow.kit.run", "tests.kit.nodes"]
    assert letter["sf-stack"].endswith(" process")
    (row,) = driver.records("t.told.changelog")
    assert letter["sf-state"] == hashlib.sha256(row.value or b"").hexdigest()


def test_a_key_without_state_has_no_digest_and_undecodable_bytes_no_version_of_a_map() -> None:
    driver = _run(_order("fail"), b"not json")
    decode, failed = sorted(driver.dead_letters(), key=lambda letter: letter["sf-reason"])
    assert "sf-state" not in failed
    assert (decode["sf-reason"], decode["sf-node-version"]) == ("decode", "source@1.0.0")
    assert [record.value for record in driver.records("t.dead_letters") if b"not" in (record.value or b"")]


@pytest.mark.parametrize("fused", [True, False])
def test_an_expression_that_fails_is_told_alike_however_it_is_compiled(fused: bool) -> None:
    (letter,) = _run(_order(b=0), fused=fused).dead_letters()
    assert (letter["sf-node"], letter["sf-reason"], letter["sf-node-version"]) == ("m", "expression", "map@1.0.0")
    assert letter["sf-stack"].splitlines()[0] == "streamflow stage s"


def test_attempts_count_on_and_headers_of_others_are_kept() -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY)))
    headers = (("trace", b"\xff1"), ("sf-attempts", b"2"), ("sf-letter", b"40"), ("trace", b"2"), ("sf-other", b"x"))
    driver.log.partitions["in", 0].append(b"key", b"bad", 5, headers)
    driver.log.partitions["in", 0].append(b"key", b"bad", 5, (("big", b"x" * HEADERS_MAX_BYTES), ("sf-attempts", b"?")))
    driver.run()
    first, second = (record.headers for record in driver.records("t.dead_letters"))
    assert first[-2:] == (("trace", b"\xff1"), ("trace", b"2"))
    assert dict(first) | {"sf-attempts": b"3", "sf-letter": b"40"} == dict(first)
    assert "sf-other" not in dict(first)
    assert dict(second) | {"sf-attempts": b"1", "sf-headers-dropped": b"1"} == dict(second)
    assert "big" not in dict(second)


def test_a_letter_of_a_later_stage_is_about_its_own_record() -> None:
    driver = _run(_order(a=0))
    (letter,) = driver.dead_letters()
    assert (letter["sf-node"], letter["sf-topic"]) == ("n", "t.by_op.repartition")


def test_stacks_and_messages_are_bounded() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("x" * 5_000)

    with pytest.raises(ValueError, match="x") as caught:
        deep(100)
    lines = stack_of(caught.value).splitlines()
    assert len(lines) == STACK_MAX_FRAMES
    assert all(line.endswith(" deep") for line in lines)
    (letter,) = _run(b"{" + b"x" * 5_000).dead_letters()
    assert len(letter["sf-error"]) <= ERROR_MAX_CHARS


def _letter(number: int, decision: Decision | None = None, **headers: str) -> Letter:
    named = tuple((f"sf-{name}", value.encode()) for name, value in headers.items())
    return Letter(Record(number, b"k", b"v", 1_000 + number, named), decision)


def test_a_filter_takes_what_fits_all_of_it() -> None:
    named = {"node": "m", "reason": "decode", "class": "permanent", "topic": "in", "partition": "1", "offset": "9"}
    letter = _letter(3, None, **named)
    fitting: list[dict[str, Any]] = [
        {},
        {"numbers": frozenset({3, 4})},
        {"node": "m", "reason": "decode", "error_class": "permanent", "key": "k"},
        {"topic": "in", "partition": 1, "offset": 9},
        {"from_ms": 1_003, "to_ms": 1_004},
        {"states": frozenset({LetterState.WAITING})},
    ]
    other: list[dict[str, Any]] = [
        {"numbers": frozenset({4})},
        {"node": "m", "reason": "late"},
        {"error_class": "transient"},
        {"key": "v"},
        {"topic": "in", "partition": 0},
        {"to_ms": 1_003},
        {"from_ms": 1_004},
        {"states": frozenset({LetterState.DISCARDED})},
    ]
    assert all(LetterFilter(**each).fits(letter) for each in fitting)
    assert not any(LetterFilter(**each).fits(letter) for each in other)
    assert not LetterFilter(partition=0).fits(_letter(1)), "a result has no record"


def test_a_letter_shows_its_event_as_it_came_and_as_edited() -> None:
    edited = Decision(LetterState.EDITED, 5, 1_003, "ops", "typo", b"w")
    letter = Letter(_letter(3, node="m").record, edited, parent=(1, 2))
    view = letter.view(whole=True)
    assert (view["value"], view["edited_value"], letter.value) == ("v", "w", b"w")
    assert (view["earlier"], view["attempts"], view["state"]) == (1, 3, "edited")
    assert view["decision"] == {"at": 5, "by": "ops", "comment": "typo"}


def test_an_event_sent_again_is_judged_by_the_time_at_which_it_was_written_first() -> None:
    """By its new record it would be too old; its next letter knows the first time, the letter before, and attempts."""
    past = _TOPOLOGY.replace("event_time: t, key: k", "event_time: t, key: k, past: {limit: 1s, policy: dead_letter}")
    driver = Driver(make_plan(parse_topology(past)))
    ours = (("sf-time", b"1500"), ("sf-correlation", b"id"), ("sf-letter", b"4"), ("sf-attempts", b"1"))
    for number, order in enumerate((_order(), _order(b=0))):
        driver.log.partitions["in", 0].append(b"key", orjson.dumps(order), 90_000_000 + number, ours)
    driver.run()
    assert len(driver.output("shares")) == 1
    (letter,) = driver.dead_letters()
    assert (letter["sf-reason"], letter["sf-time"], letter["sf-letter"]) == ("expression", "1500", "4")
    assert letter["sf-attempts"] == "2"
