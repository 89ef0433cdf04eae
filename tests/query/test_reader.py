"""Queries over a store: keys, ranges, states, pages."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamflow.query.reader as reader_module
from streamflow.checkpoint.progress import NO_TIME
from streamflow.errors import UserError
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import KeyedReader, PaneReader
from streamflow.query.request import Page, RowState, StoredRow, TableQuery, decode_cursor, merge_pages
from streamflow.state.keys import key_bytes, window_key
from streamflow.state.memory import MemoryStore
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import StoreMeta, TableChanges
from streamflow.windows.tumbling import Tumbling

#: Rows of a large table: memory per page is that of a page, so this says what a million would.
_MANY = 20_000
_SCHEMA = Schema("R", (Field("k", FieldType.STR), Field("n", FieldType.INT)))
_TABLE = TablePlan("w", "w", "c", "l", _SCHEMA, "k", window=Tumbling(10), lateness_ms=5)
_ROWS = {(start, key): start + ord(key) for start in range(-20, 100, 10) for key in "abc" if (start, key) != (30, "b")}


def _store() -> MemoryStore:
    store = MemoryStore()
    changes: list[tuple[bytes, bytes | None]] = [
        (window_key(s, key_bytes(k)), b"%d" % v) for (s, k), v in _ROWS.items()
    ]
    store.write([TableChanges("w", changes)], StoreMeta())
    return store


def _read(query: TableQuery, watermark: int = 50) -> list[StoredRow]:
    return _page(query, watermark).rows


def _page(query: TableQuery, watermark: int = 50) -> Page:
    return PaneReader(_TABLE, lambda raw: {"n": int(raw)}).read(_store(), watermark, query)


def _places(rows: list[StoredRow]) -> list[tuple[int, str]]:
    return [(row.row["start"], row.row["key"]) for row in rows]


def test_one_key_over_a_range_skips_from_pane_to_pane() -> None:
    rows = _read(TableQuery(key=b"b", from_ms=10, to_ms=60, limit=100))
    assert _places(rows) == [(10, "b"), (20, "b"), (40, "b"), (50, "b")]
    assert rows[0].row == {"key": "b", "start": 10, "end": 20, "final": True, "value": {"n": 108}}


def test_final_is_what_the_watermark_has_passed_with_lateness() -> None:
    finals = _read(TableQuery(key=b"a", state=RowState.FINAL, limit=100))
    opens = _read(TableQuery(key=b"a", state=RowState.OPEN, limit=100))
    assert _places(finals)[-1] == (30, "a")  # 40 + 5 <= 50
    assert _places(opens)[0] == (40, "a")
    assert len(finals) + len(opens) == 12


class _CountingStore(MemoryStore):
    """Counts the rows that are taken from its scans."""

    taken = 0

    def scan(self, table: str, lower: bytes = b"", upper: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        for pair in super().scan(table, lower, upper):
            self.taken += 1
            yield pair


@pytest.mark.parametrize(("state", "watermark"), [(RowState.OPEN, 1_000_000), (RowState.FINAL, -1_000_000)])
@pytest.mark.parametrize("key", [None, b"a"])
def test_a_state_that_no_row_has_costs_no_scan(state: RowState, watermark: int, key: bytes | None) -> None:
    """Open or final is a bound of the window start, not a filter over the history."""
    store = _CountingStore()
    store.write([TableChanges("w", [(window_key(s, b"a"), b"1") for s in range(0, 5_000, 10)])], StoreMeta())
    page = PaneReader(_TABLE, lambda raw: {"n": int(raw)}).read(store, watermark, TableQuery(key=key, state=state))
    assert (page, store.taken) == (Page([]), 0)


def test_before_the_first_watermark_nothing_is_final() -> None:
    assert _read(TableQuery(state=RowState.FINAL), NO_TIME) == []
    assert len(_read(TableQuery(state=RowState.OPEN, limit=1_000), NO_TIME)) == len(_ROWS)


def test_a_rare_key_is_sought_in_so_many_windows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read ends early with the place it came to; the next begins there, and together they find everything."""
    monkeypatch.setattr(reader_module, "PANES_MAX", 3)
    found, until, pages = [], None, 0
    while pages == 0 or until is not None:
        page = _page(TableQuery(key=b"b", from_ms=0, after=until))
        found += _places(page.rows)
        until = page.until
        pages += 1
    assert found == [(start, "b") for start in (0, 10, 20, 40, 50, 60, 70, 80, 90)]
    assert pages == 4


def test_a_page_that_ended_early_cuts_the_others_off() -> None:
    short = Page([StoredRow(b"b", {"n": 2})], until=b"c")
    long = Page([StoredRow(b"a", {"n": 1}), StoredRow(b"d", {"n": 4})])
    rows, cursor = merge_pages([short, long], 10)
    assert [row["n"] for row in rows] == [1, 2]
    assert cursor is not None
    assert decode_cursor(cursor) == b"c"
    rows, cursor = merge_pages([short, long], 1)
    assert cursor is not None
    assert ([row["n"] for row in rows], decode_cursor(cursor)) == ([1], b"a")


@given(st.integers(1, 12), st.sampled_from([None, b"a", b"zz"]))
def test_pages_put_together_are_the_whole(limit: int, key: bytes | None) -> None:
    whole = _places(_read(TableQuery(key=key, limit=1_000)))
    collected: list[tuple[int, str]] = []
    after = None
    while True:
        page = _page(TableQuery(key=key, limit=limit, after=after))
        rows, cursor = merge_pages([page], limit)
        collected += [(row["start"], row["key"]) for row in rows]
        if cursor is None:
            break
        after = decode_cursor(cursor)
    assert collected == whole


def test_a_page_takes_no_more_memory_of_a_large_table_than_of_a_small_one(tmp_path: Path) -> None:
    store = RocksStore.open(tmp_path / "store", RocksMemory.of(8 << 20, 8 << 20))
    changes = [(window_key(10 * (n // 1_000), b"k%03d" % (n % 1_000)), b"%d" % n) for n in range(_MANY)]
    store.write([TableChanges("w", changes)], StoreMeta())  # type: ignore[arg-type]
    del changes
    reader, after, found, peak_bytes = PaneReader(_TABLE, lambda raw: {"n": int(raw)}), None, 0, 0
    tracemalloc.start()
    while True:
        tracemalloc.reset_peak()
        rows, cursor = merge_pages([reader.read(store, 0, TableQuery(limit=1_000, after=after))], 1_000)
        assert [row["value"]["n"] for row in rows] == list(range(found, found + len(rows)))
        found += len(rows)
        if found > 2_000:  # what is loaded once is there
            peak_bytes = max(peak_bytes, tracemalloc.get_traced_memory()[1])
        if cursor is None:
            break
        after = decode_cursor(cursor)
    tracemalloc.stop()
    store.close()
    assert found == _MANY
    assert peak_bytes < 3 << 20


@given(
    st.integers(1, 40),
    st.sampled_from([None, b"a", b"zz"]),
    st.integers(1, 20),
    st.lists(st.integers(0, 2), min_size=len(_ROWS), max_size=len(_ROWS)),
)
def test_partitions_read_together_are_the_whole(
    limit: int, key: bytes | None, panes_max: int, places: list[int]
) -> None:
    """Also where a partition's read ends early. Rows are decoded to be shown, not to be thrown away."""
    stores = [MemoryStore() for _ in range(3)]
    decoded: list[bytes] = []

    def decode(raw: bytes) -> dict[str, Any]:
        decoded.append(raw)
        return {"n": int(raw)}

    for place, ((start, name), value) in zip(places, _ROWS.items(), strict=True):
        stores[place].write([TableChanges("w", [(window_key(start, key_bytes(name)), b"%d" % value)])], StoreMeta())
    reader = PaneReader(_TABLE, decode)
    collected: list[StoredRow] = []
    after, pages = None, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "PANES_MAX", panes_max)
        while pages == 0 or after is not None:
            page = reader.read_all([(each, 50) for each in stores], TableQuery(key=key, limit=limit, after=after))
            shown, cursor = merge_pages([page], limit)
            collected += page.rows[: len(shown)]
            after = None if cursor is None else decode_cursor(cursor)
            pages += 1
    assert collected == _read(TableQuery(key=key, limit=1_000))
    # The row behind a page, and the next one of every partition.
    assert len(decoded) <= len(collected) + pages * len(stores)


def test_pages_of_several_partitions_merge_in_order() -> None:
    left = [StoredRow(b"a", {"n": 1}), StoredRow(b"d", {"n": 4})]
    right = [StoredRow(b"b", {"n": 2}), StoredRow(b"c", {"n": 3})]
    rows, cursor = merge_pages([Page(left), Page(right)], 3)
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert cursor is not None
    assert decode_cursor(cursor) == b"c"
    assert merge_pages([Page(left), Page(right)], 4)[1] is None
    with pytest.raises(UserError, match="cursor"):
        decode_cursor("ä!")


def test_keyed_tables_answer_too() -> None:
    store = MemoryStore()
    store.write([TableChanges("t", [(b"7", b"1"), (b"12", b"2"), (b"", b"3")])], StoreMeta())
    schema = Schema("C", (Field("id", FieldType.INT),))
    reader = KeyedReader(TablePlan("t", "t", "c", "l", schema, "id"), lambda raw: {"count": int(raw)})
    everything: list[Any] = [row.row["key"] for row in reader.read(store, 0, TableQuery()).rows]
    assert everything == [None, 12, 7]
    assert reader.read(store, 0, TableQuery(key=b"7")).rows[0].row == {"key": 7, "final": False, "value": {"count": 1}}
    assert reader.read(store, 0, TableQuery(key=b"8")).rows == []
