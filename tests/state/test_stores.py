"""Every store keeps the same contract."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import StateInUse, StateMismatch, StoreFailed
from streamflow.state.keys import key_bytes, key_from_bytes, pane_prefix, split_window_key, window_key
from streamflow.state.memory import MemoryStore
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import Store, StoreMeta, TableChanges
from streamflow.state.write_behind import WriteBehindStore


@pytest.fixture(params=["memory", "rocksdb", "write_behind", "write_behind_flushing"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    memory = RocksMemory.of(8 << 20, 8 << 20)
    makers: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "rocksdb": lambda: RocksStore.open(tmp_path / "db", memory),
        "write_behind": lambda: WriteBehindStore(MemoryStore(), lambda: 0.0),
        "write_behind_flushing": lambda: WriteBehindStore(RocksStore.open(tmp_path / "db", memory), lambda: 0.0, -1),
    }
    made = makers[request.param]()
    yield made
    made.close()


def test_rows_are_read_back_in_order(store: Store) -> None:
    assert store.read_meta() is None
    changes: list[tuple[bytes, bytes | None]] = [(b"b", b"2"), (b"a", b"1"), (b"c", b"3")]
    store.write([TableChanges("t", changes), TableChanges("u", [(b"z", b"9")])], StoreMeta(changelog={"t": 5}))
    assert list(store.scan("t")) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert list(store.scan("t", b"b")) == [(b"b", b"2"), (b"c", b"3")]
    assert list(store.scan("t", b"a", b"c")) == [(b"a", b"1"), (b"b", b"2")]
    assert (store.get("t", b"b"), store.get("t", b"z"), store.get("u", b"z")) == (b"2", None, b"9")
    meta = store.read_meta()
    assert meta is not None
    assert meta.changelog == {"t": 5}


def test_deletes_and_expiry(store: Store) -> None:
    store.write([TableChanges("t", [(bytes([i]), b"x") for i in range(6)])], StoreMeta())
    store.write([TableChanges("t", [(b"\x05", None), (b"\x00", b"new")], expire_below=b"\x02")], StoreMeta())
    assert [key for key, _ in store.scan("t")] == [b"\x02", b"\x03", b"\x04"]
    assert store.get("t", b"\x00") is None
    assert store.size_bytes() >= 0
    assert store.rows_max() >= 3


def test_write_behind_shows_the_newest_and_writes_once(tmp_path: Path) -> None:
    now, disk = [0.0], MemoryStore()
    store = WriteBehindStore(disk, lambda: now[0], interval_ms=1_000)
    for value in (b"1", b"2", b"3"):
        store.write([TableChanges("t", [(b"k", value)])], StoreMeta(changelog={"t": int(value)}))
    assert store.get("t", b"k") == b"3"
    assert disk.get("t", b"k") is None
    now[0] = 1_000.0
    store.write([TableChanges("t", [(b"l", b"9")])], StoreMeta(changelog={"t": 4}))
    assert disk.get("t", b"k") == b"3"
    assert disk.read_meta() == StoreMeta(changelog={"t": 4})


def test_abandoning_writes_nothing_more() -> None:
    disk = MemoryStore()
    store = WriteBehindStore(disk, lambda: 0.0)
    store.write([TableChanges("t", [(b"k", b"1")])], StoreMeta())
    store.abandon()
    assert disk.get("t", b"k") is None


def _in_another_process(path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(_open_and_close, path).result()


def _open_and_close(path: Path) -> None:
    RocksStore.open(path, RocksMemory.of(8 << 20, 8 << 20)).close()


def test_a_damaged_store_is_not_taken_for_a_locked_one(tmp_path: Path) -> None:
    _in_another_process(tmp_path)
    (tmp_path / "CURRENT").write_text("nonsense")
    with pytest.raises(StoreFailed, match="cannot be opened"):
        _open_and_close(tmp_path)


def test_a_store_survives_reopening_and_is_locked_meanwhile(tmp_path: Path) -> None:
    memory = RocksMemory.of(8 << 20, 8 << 20)
    store = RocksStore.open(tmp_path, memory)
    store.write([TableChanges("t", [(b"k", b"1")])], StoreMeta(inputs={"in/0": 7}))
    with pytest.raises(StateInUse):
        RocksStore.open(tmp_path, memory)
    with pytest.raises(StateInUse, match="open elsewhere"):
        _in_another_process(tmp_path)
    store.close()
    store.close()
    again = RocksStore.open(tmp_path, memory)
    assert again.get("t", b"k") == b"1"
    assert again.read_meta() == StoreMeta(inputs={"in/0": 7})
    again.write([], StoreMeta(format=2))
    with pytest.raises(StateMismatch, match="format 2"):
        again.read_meta()
    again.close()
    with pytest.raises(StoreFailed, match="closed"):
        again.get("t", b"k")


_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.one_of(st.none(), st.just(b"v")))),
        ),
        st.tuples(st.just("expire"), st.binary(min_size=1, max_size=2)),
        st.tuples(st.just("flush"), st.none()),
    ),
    max_size=8,
)


@given(_OPERATIONS)
def test_write_behind_equals_a_plain_store(operations: list[tuple[str, object]]) -> None:
    plain, behind = MemoryStore(), WriteBehindStore(MemoryStore(), lambda: 0.0)
    expired = b""
    for kind, argument in operations:
        if kind == "flush":
            behind.flush()
            continue
        if kind == "expire":
            expired = max(expired, argument)  # type: ignore[call-overload]
            changes = TableChanges("t", [], expired)
        else:  # what has expired is never written again
            changes = TableChanges("t", [each for each in argument if each[0] >= expired])  # type: ignore[attr-defined]
        running = behind.scan("t")
        before = list(plain.scan("t"))
        plain.write([changes], StoreMeta())
        behind.write([changes], StoreMeta())
        assert list(running) == before, "as they were at the call"
        assert list(behind.scan("t")) == list(plain.scan("t"))
    assert list(behind.scan("t", b"\x40", b"\xa0")) == list(plain.scan("t", b"\x40", b"\xa0"))


@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.text(max_size=5)), min_size=2))
def test_byte_order_of_window_keys_is_time_order(rows: list[tuple[int, str]]) -> None:
    keys = sorted(window_key(start, key_bytes(key)) for start, key in rows)
    assert [split_window_key(key)[0] for key in keys] == sorted(start for start, _ in rows)
    assert all(key.startswith(pane_prefix(split_window_key(key)[0])) for key in keys)


@pytest.mark.parametrize("key", ["", "ünï", "a,b", 0, -7, 2**62])
def test_keys_come_back(key: str | int) -> None:
    assert key_from_bytes(key_bytes(key), isinstance(key, int)) == key
