"""Parked keys against a model, in every shape, with a crash at each checkpoint."""

import random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.chunk import Record
from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.parking.model import Event, Model

_TOPOLOGY = """
topology: t
schemas:
  Order: {{t: timestamp, k: str, part: str, n: int}}
  Part: {{part: str, weight: int}}
nodes:
  parts: {{kind: global_table, topic: parts, schema: Part, key: part}}
  s:     {{kind: source, topic: in, schema: Order, event_time: t{key}}}
{before}
  found: {{kind: lookup, input: {entry}, table: parts, key: part, take: [weight], missing: dead_letter}}
  many:  {{kind: echo, input: found, table: many}}
  o:     {{kind: sink, input: many, topic: out}}
parking:
  {entry}: {{{options}}}
"""
_KEYS = ["a", "b", "c", "d"]
_PARTS = ["bolt", "nut", "gear"]


def _plan(entry: str = "s", options: str = "") -> Plan:
    before = "" if entry == "s" else f"  {entry}: {{kind: key_by, input: s, key: k}}"
    key = ", key: k" if entry == "s" else ""
    return make_plan(parse_topology(_TOPOLOGY.format(key=key, before=before, entry=entry, options=options)))


class Story:
    """Does the same to a driver and to a model, and compares them."""

    def __init__(self, driver: Driver, entry: str, model: Model, partitions: int) -> None:
        self.driver, self.entry, self.model, self.partitions = driver, entry, model, partitions
        self.count = 0
        #: Letters by what may be done with them.
        self.open: list[tuple[int, int]] = []
        self.discarded: list[tuple[int, int]] = []
        self._seen: set[tuple[int, int]] = set()
        for part in model.known:
            self.know(part)

    def know(self, part: str) -> None:
        self.driver.put("parts", part.encode(), orjson.dumps({"part": part, "weight": 1}))
        self.model.known.add(part)

    def publish(self, events: list[tuple[str, str]]) -> None:
        for key, part in events:
            self.count += 1
            row = {"t": self.count, "k": key, "part": part, "n": self.count}
            self.driver.publish("in", [row], key="k")
            self.model.come(Event(self.count, key, part))

    def redrive(self, letter: tuple[int, int], key: str, part: str) -> None:
        """As it was where rows of a repartition topic cannot be edited."""
        old = self.model.letters[letter]
        event = Event(old.number, key, part, letter[1])
        edited = {"t": event.number, "k": event.key, "part": event.part, "n": event.number}
        if self.entry != "s":
            event, edited = Event(old.number, old.key, old.part, letter[1]), {}
        elif partition_of(key.encode(), self.partitions) != partition_of(old.key.encode(), self.partitions):
            event = Event(old.number, old.key, part, letter[1])
            edited["k"] = old.key
        self.driver.redrive(self.records()[letter], edited or None)
        self.model.again(letter, event)

    def discard(self, letter: tuple[int, int]) -> None:
        self.driver.discard(self.records()[letter])
        self.model.discard(letter)

    def records(self) -> dict[tuple[int, int], Record]:
        """Letters by what they are about."""
        found = {}
        for record in self.driver.records(self.driver.plan.dead_letter_topic):
            value = orjson.loads(record.value or b"")
            number = value["n"] if isinstance(value, dict) else value[-1]
            found[number, int(dict(record.headers)["sf-attempts"])] = record
        return found

    def compare(self) -> None:
        self.driver.run()
        done: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        for row in self.driver.output("out"):
            done.setdefault(row["k"], []).append(row["n"])
            counts.setdefault(row["k"], []).append(row["count"])
        assert done == {name: key.done for name, key in self.model.keys.items() if key.done}
        assert all(count == list(range(1, len(count) + 1)) for count in counts.values())
        assert self.records().keys() == self.model.letters.keys()
        parked = {
            name: (row["failures"], row["waiting"]) for name, row in self.driver.table(f"{self.entry}.parked").items()
        }
        keys = self.model.keys.items()
        assert parked == {name: (key.failures, len(key.waiting)) for name, key in keys if key.head is not None}
        full = {each for each, record in self.records().items() if dict(record.headers)["sf-reason"] == b"parked_full"}
        assert full == self.model.full
        self.open += sorted(self.model.letters.keys() - self._seen)
        self._seen |= self.model.letters.keys()
        heads = {key.head for _, key in keys if key.head is not None}
        named = {each for each, record in self.records().items() if "sf-parked" in dict(record.headers)}
        assert heads <= named


@pytest.mark.parametrize("entry", ["s", "by"])
@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 30), data=st.data())
def test_every_key_goes_on_in_order_whatever_fails_dies_and_is_decided(
    entry: str, seed: int, data: st.DataObject
) -> None:
    chance = random.Random(seed)
    partitions = data.draw(st.sampled_from([1, 2]))
    driver = Driver(
        _plan(entry),
        partitions=partitions,
        chunk_size=data.draw(st.sampled_from([1, 3, 100])),
        fused=data.draw(st.booleans()),
        checkpoint_every=data.draw(st.sampled_from([1, 2, 5])),
        overlap=data.draw(st.booleans()),
    )
    points = data.draw(st.sets(st.integers(1, 60), max_size=6))
    driver.crash_at = {number: chance.choice(list(CrashPoint)) for number in points}
    story = Story(driver, entry, Model({"bolt"}), partitions)
    for _ in range(data.draw(st.integers(3, 10))):
        for _ in range(chance.choice([1, 1, 3]) if entry == "s" else 1):
            parts = ["bolt"] * 3 + _PARTS
            story.publish([(chance.choice(_KEYS), chance.choice(parts)) for _ in range(chance.randrange(8))])
            if entry == "by":
                story.compare()
            if story.open and chance.random() < 0.7:
                letter = story.open.pop(chance.randrange(len(story.open)))
                story.redrive(letter, chance.choice(_KEYS), chance.choice(_PARTS))
        story.compare()
        if chance.random() < 0.2:
            story.know(chance.choice(_PARTS))
        if story.discarded and chance.random() < 0.4:
            story.redrive(story.discarded.pop(), chance.choice(_KEYS), "bolt")
            story.compare()
        if story.open and chance.random() < 0.4:
            story.discarded.append(story.open.pop(0))
            story.discard(story.discarded[-1])
            story.compare()
