"""Lookups give what an independent model gives, in every shape; tables follow their topics."""

import itertools
import json
import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine.global_table import GlobalTable
from streamflow.errors import TableTooLarge
from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

PLAN = make_plan(
    parse_topology("""
topology: t
schemas:
  Sale: {time: timestamp, shop: str, item: int, code: str?}
  Shop: {shop: str, city: str, size: int?}
  Item: {number: int, price: float}
nodes:
  priced: {kind: lookup, input: sales, table: items, key: item % 5, take: [price], missing: drop}
  sales: {kind: source, topic: sales, schema: Sale, event_time: time, key: shop, idle_after: 1s}
  shops: {kind: global_table, topic: shops, schema: Shop, key: shop}
  items: {kind: global_table, topic: items, schema: Item, key: number}
  placed: {kind: lookup, input: sales, table: shops, key: shop, take: {town: city, size: size}, missing: null}
  named: {kind: lookup, input: sales, table: shops, key: code, prefix: of_, missing: dead_letter}
  both: {kind: lookup, input: placed, table: items, key: item}
  by_town: {kind: key_by, input: placed, key: "coalesce(town, 'nowhere')"}
  totals: {kind: window, input: by_town, window: {type: tumbling, size: 50ms}, aggregate: {n: count()}}
  again: {kind: lookup, input: totals, table: shops, key: key, take: {twin: city}, missing: dead_letter}
  out1: {kind: sink, input: priced, topic: priced}
  out2: {kind: sink, input: placed, topic: placed}
  out3: {kind: sink, input: named, topic: named}
  out4: {kind: sink, input: both, topic: both}
  out5: {kind: sink, input: totals, topic: totals}
  out6: {kind: sink, input: again, topic: again}
""")
)
SHOPS, TOWNS = ["a", "b", "c", "d", "ä"], ["Rome", "Oslo", "a"]
CRASHES = {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE, 9: CrashPoint.BEFORE_COMMIT}


def _sales(chance: random.Random, start: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "time": start + place,
            "shop": chance.choice(SHOPS),
            "item": chance.randrange(7),
            "code": chance.choice([None, *SHOPS]),
        }
        for place in range(count)
    ]


class Model:
    """What the topology must give: plain dictionaries, and lists of results."""

    def __init__(self) -> None:
        self.shops: dict[str, dict[str, Any]] = {}
        self.items: dict[int, float] = {}
        self.out: dict[str, list[dict[str, Any]]] = {name: [] for name in ("priced", "placed", "named", "both")}
        self.missing = 0
        self.totals: dict[tuple[str, int], int] = {}

    def sell(self, sale: dict[str, Any]) -> None:
        shop = self.shops.get(sale["shop"], {})
        placed = {**sale, "town": shop.get("city"), "size": shop.get("size")}
        self.out["placed"].append(placed)
        self.out["both"].append({**placed, "price": self.items.get(sale["item"])})
        if sale["item"] % 5 in self.items:
            self.out["priced"].append({**sale, "price": self.items[sale["item"] % 5]})
        if sale["code"] in self.shops:
            found = self.shops[sale["code"]]
            self.out["named"].append({**sale, "of_city": found["city"], "of_size": found.get("size")})
        else:
            self.missing += 1
        window = (shop.get("city", "nowhere"), sale["time"] // 50 * 50)
        self.totals[window] = self.totals.get(window, 0) + 1


def _change(chance: random.Random, driver: Driver, model: Model) -> None:
    """Some changes of both tables, unusable records among them."""
    for _ in range(chance.randrange(1, 6)):
        shop, number = chance.choice(SHOPS), chance.randrange(7)
        match chance.randrange(6):
            case 0 | 1:
                row = {"shop": shop, "city": chance.choice(TOWNS), **chance.choice([{}, {"size": 3}])}
                driver.publish("shops", [row])
                model.shops[shop] = row
            case 2 | 3:
                driver.publish("items", [{"number": number, "price": number + 0.5}])
                model.items[number] = number + 0.5
            case 4:
                driver.delete("shops", shop)
                driver.delete("items", number)
                model.shops.pop(shop, None)
                model.items.pop(number, None)
            case _:
                # Unusable: whatever was there under the record's key is gone.
                value = chance.choice([b"{", b'{"shop":"zz","city":"Rome"}', b'{"shop":null}', b"7"])
                partition = partition_of(shop.encode(), driver.log.partition_counts["shops"])
                driver.log.partitions["shops", partition].append(shop.encode(), value, driver.now_ms)
                model.shops.pop(shop, None)


def _canonical(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def _check(seed: int, crashes: dict[int, CrashPoint], **shape: Any) -> None:
    chance, model, driver = random.Random(seed), Model(), Driver(PLAN, **shape)
    driver.crash_at = dict(crashes)
    for phase in range(6):
        _change(chance, driver, model)
        sales = _sales(chance, 1_000 + 40 * phase, 40)
        driver.publish("sales", sales)
        for sale in sales:
            model.sell(sale)
        driver.run()
    driver.idle()
    for topic, expected in model.out.items():
        assert _canonical(driver.output(topic)) == _canonical(expected), topic
    assert driver.table("shops") == {
        name: {"city": row["city"], "size": row.get("size")} for name, row in model.shops.items()
    }
    assert driver.table("items") == {number: {"price": price} for number, price in model.items.items()}
    table = {key: row["n"] for key, row in driver.table("totals").items()}
    assert table == model.totals
    letters = driver.dead_letters()
    assert {letter["sf-reason"] for letter in letters} <= {"missing_row"}
    assert sum(letter["sf-node"] == "named" for letter in letters) == model.missing
    fired = driver.output("totals")
    assert len(driver.output("again")) + sum(letter["sf-node"] == "again" for letter in letters) == len(fired)
    assert all(row["twin"] in TOWNS for row in driver.output("again"))


@pytest.mark.parametrize(
    ("partitions", "chunk_size", "fused", "crashes"),
    list(itertools.product((1, 2, 4), (1, 7, 1_000), (True, False), ({}, CRASHES))),
)
def test_lookups_equal_the_model(partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]) -> None:
    _check(chunk_size, crashes, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=3)


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.integers(1, 50),
    st.booleans(),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5),
)
def test_any_shape_equals_the_model(
    seed: int, partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    _check(seed, crashes, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=2)


def _items(max_rows: int = 100, max_bytes: int = 10_000) -> GlobalTable:
    return GlobalTable(replace(PLAN.global_tables[1], max_rows=max_rows, max_bytes=max_bytes))


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 1e9) | st.just("bad")), max_size=40))
def test_size_and_keys_are_those_of_the_rows_that_are_there(changes: list[tuple[int, Any]]) -> None:
    """However they came to be, in one go or one by one."""
    expected: dict[int, dict[str, Any]] = {}
    records: list[tuple[bytes | None, bytes | None]] = []
    for number, price in changes:
        row = {"number": number, "price": price}
        records.append((str(number).encode(), None if price is None else json.dumps(row).encode()))
        expected.pop(number, None)
        if isinstance(price, float):
            expected[number] = row
    together, singly = _items(), _items()
    together.apply(records)
    for record in records:
        singly.apply([record])
    for table in (together, singly):
        assert table.values() == {number: {"price": row["price"]} for number, row in expected.items()}
        size = sum(len(str(number)) + len(msgspec.json.encode(row)) for number, row in expected.items())
        assert table.size_bytes == size
        keys = sorted(str(number).encode() for number in expected)
        assert table.keys_behind(None, 100) == keys
        assert table.keys_behind(b"2", 2) == [key for key in keys if key > b"2"][:2]
        assert table.bad_count == sum(price == "bad" for _, price in changes)
        for number, row in expected.items():
            shown = {"key": number, "final": False, "value": {"price": row["price"]}}
            assert table.find(b"%d" % number) == shown


def test_a_key_is_the_text_of_its_value_and_nothing_else() -> None:
    """What another spelling could mean would depend on who reads it."""
    table = _items()
    row = b'{"number":7,"price":1}'
    table.apply([(b"7", row), (b"007", row), (b"x", row), (None, row), (b"\xff", None), (b"07", None), (None, None)])
    assert table.values() == {7: {"price": 1.0}}
    assert table.bad_count == 6
    assert table.find(b"007") is None
    assert table.find(b"9" * 5_000) is None


def test_a_table_beyond_its_bounds_is_refused() -> None:
    """With what to raise; what replaces a row takes no more room."""
    rows = [(b"%d" % n, b'{"number":%d,"price":1}' % n) for n in range(4)]
    table = _items(max_rows=3)
    table.apply(rows[:3] * 2)
    with pytest.raises(TableTooLarge, match=r"4 rows and .* bytes, its bounds are 3 .*: raise max_rows"):
        table.apply(rows[3:])
    exact = _items()
    exact.apply(rows)
    _items(max_bytes=exact.size_bytes).apply(rows)
    with pytest.raises(TableTooLarge):
        _items(max_bytes=exact.size_bytes - 1).apply(rows)
