"""Queries over a store: keys, ranges, states, pages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import UserError
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import TableReader
from streamflow.query.request import RowState, StoredRow, TableQuery, decode_cursor, merge_pages
from streamflow.state.keys import key_bytes, window_key
from streamflow.state.memory import MemoryStore
from streamflow.state.store import StoreMeta, TableChanges

_SCHEMA = Schema("R", (Field("k", FieldType.STR), Field("n", FieldType.INT)))
_TABLE = TablePlan("w", "w", True, "c", "l", _SCHEMA, "k", size_ms=10)
_ROWS = {(start, key): start + ord(key) for start in range(-20, 100, 10) for key in "abc" if (start, key) != (30, "b")}


def _store() -> MemoryStore:
    store = MemoryStore()
    changes: list[tuple[bytes, bytes | None]] = [
        (window_key(s, key_bytes(k)), b"%d" % v) for (s, k), v in _ROWS.items()
    ]
    store.write([TableChanges("w", changes)], StoreMeta())
    return store


def _read(query: TableQuery, watermark: int = 50) -> list[StoredRow]:
    return TableReader(_TABLE, lambda raw: {"n": int(raw)}, 5).read(_store(), watermark, query)


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


@given(st.integers(1, 12), st.sampled_from([None, b"a", b"zz"]))
def test_pages_put_together_are_the_whole(limit: int, key: bytes | None) -> None:
    whole = _places(_read(TableQuery(key=key, limit=1_000)))
    collected: list[tuple[int, str]] = []
    after = None
    while True:
        page = _read(TableQuery(key=key, limit=limit, after=after))
        rows, cursor = merge_pages([page], limit)
        collected += [(row["start"], row["key"]) for row in rows]
        if cursor is None:
            break
        after = decode_cursor(cursor)
    assert collected == whole


def test_pages_of_several_partitions_merge_in_order() -> None:
    left = [StoredRow(b"a", {"n": 1}), StoredRow(b"d", {"n": 4})]
    right = [StoredRow(b"b", {"n": 2}), StoredRow(b"c", {"n": 3})]
    rows, cursor = merge_pages([left, right], 3)
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert cursor is not None
    assert decode_cursor(cursor) == b"c"
    assert merge_pages([left, right], 4)[1] is None
    with pytest.raises(UserError, match="cursor"):
        decode_cursor("ä!")


def test_keyed_tables_answer_too() -> None:
    store = MemoryStore()
    store.write([TableChanges("t", [(b"7", b"1"), (b"12", b"2"), (b"", b"3")])], StoreMeta())
    schema = Schema("C", (Field("id", FieldType.INT),))
    reader = TableReader(TablePlan("t", "t", False, "c", "l", schema, "id"), lambda raw: {"count": int(raw)}, 0)
    everything: list[Any] = [row.row["key"] for row in reader.read(store, 0, TableQuery())]
    assert everything == [None, 12, 7]
    assert reader.read(store, 0, TableQuery(key=b"7"))[0].row == {"key": 7, "final": False, "value": {"count": 1}}
    assert reader.read(store, 0, TableQuery(key=b"8")) == []
