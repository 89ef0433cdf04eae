"""Stores that recovery meets: damaged ones are rebuilt, ones that are open elsewhere are left alone."""

from pathlib import Path

import pytest
from aiokafka.structs import OffsetAndMetadata

from streamflow.calls.policy import CachePlan
from streamflow.checkpoint.progress import Progress
from streamflow.errors import StateInUse, StateMismatch
from streamflow.plan.plan import Guarantee
from streamflow.plan.planner import make_plan
from streamflow.runtime.recovery import Recovery, newest_progress
from streamflow.runtime.result_folders import ResultFolders
from streamflow.settings.settings import load_settings
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import StoreMeta, TableChanges
from streamflow.topology.yaml_file import parse_topology

_STAGE = make_plan(
    parse_topology("""
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  c: {kind: echo, input: s, table: seen}
  o: {kind: sink, input: c, topic: out}
""")
).stages[0]


def _made(path: Path, memory: RocksMemory, meta: StoreMeta) -> RocksStore:
    store = RocksStore.open(path, memory)
    store.write([TableChanges("seen", [(b"k", b"1")])], meta)
    return store


def test_a_store_of_another_format_is_rebuilt(tmp_path: Path) -> None:
    memory = RocksMemory.of(8 << 20, 8 << 20)
    _made(tmp_path / "s.0", memory, StoreMeta(format=2)).close()
    store, meta = _recovery(tmp_path, memory)._open_store(_STAGE, 0)
    assert store.get("seen", b"k") is None
    assert meta.changelog == {}
    store.close()


@pytest.mark.parametrize("damage", [b"junk", b""])
def test_a_damaged_store_is_rebuilt_from_what_was_committed(tmp_path: Path, damage: bytes) -> None:
    """Nothing of it is believed, so the changelog is read from its beginning."""
    memory, layouts = RocksMemory.of(8 << 20, 8 << 20), {table.name: table.layout for table in _STAGE.tables}
    _made(tmp_path / "s.0", memory, StoreMeta(layouts=layouts, changelog={"seen": 4})).close()
    assert _recovery(tmp_path, memory)._open_store(_STAGE, 0)[1].changelog == {"seen": 4}
    (tmp_path / "s.1").mkdir()
    for path in (tmp_path / "s.0").iterdir():
        (tmp_path / "s.1" / path.name).write_bytes(damage if path.name == "CURRENT" else path.read_bytes())
    store, meta = _recovery(tmp_path, memory)._open_store(_STAGE, 1)
    assert store.get("seen", b"k") is None
    assert meta.changelog == {}
    store.close()


def test_a_store_from_before_a_reset_is_rebuilt_however_long_the_changelog_is_now(tmp_path: Path) -> None:
    """It was on another machine when the reset deleted what it could see."""
    memory, layouts = RocksMemory.of(8 << 20, 8 << 20), {table.name: table.layout for table in _STAGE.tables}
    for partition, life in enumerate(("before", "now", "")):
        known = StoreMeta(layouts=layouts, changelog={"seen": 4}, progress=Progress(life=life).encode())
        _made(tmp_path / f"s.{partition}", memory, known).close()
    found = []
    for partition in range(4):
        store, meta = _recovery(tmp_path, memory)._open_store(_STAGE, partition, "now")
        found.append((store.get("seen", b"k"), meta.changelog, Progress.decode(meta.progress).life))
        store.close()
    told_nothing = (b"1", {"seen": 4}, "")  # an older release wrote it
    assert found == [(None, {}, "now"), (b"1", {"seen": 4}, "now"), told_nothing, (None, {}, "now")]


def test_a_store_that_is_open_elsewhere_is_left_alone(tmp_path: Path) -> None:
    memory = RocksMemory.of(8 << 20, 8 << 20)
    store = _made(tmp_path / "s.0", memory, StoreMeta())
    with pytest.raises(StateInUse):
        _recovery(tmp_path, memory)._open_store(_STAGE, 0)
    store.close()
    assert RocksStore.open(tmp_path / "s.0", memory).get("seen", b"k") == b"1"


def test_tables_may_come_and_go_but_none_in_which_events_wait(tmp_path: Path) -> None:
    """The others are as they were, or are rebuilt; a layout that has changed is refused."""
    memory, layouts = RocksMemory.of(8 << 20, 8 << 20), {table.name: table.layout for table in _STAGE.tables}
    _made(tmp_path / "s.0", memory, StoreMeta(layouts=layouts, changelog={"seen": 4})).close()
    before = RocksStore.open(tmp_path / "s.1", memory)
    before.write([], StoreMeta(inputs={"in/1": 3}))
    before.close()
    _made(tmp_path / "s.2", memory, StoreMeta(layouts=layouts | {"old": "x"}, changelog={"seen": 4})).close()
    found = []
    for partition in range(3):
        store, meta = _recovery(tmp_path, memory)._open_store(_STAGE, partition)
        found.append((store.get("seen", b"k"), dict(meta.layouts) == layouts, {**meta.changelog, **meta.inputs}))
        store.close()
    assert found == [(b"1", True, {"seen": 4}), (None, True, {"in/1": 3}), (None, True, {})]

    waiting = _made(tmp_path / "s.3", memory, StoreMeta())
    waiting.write([TableChanges("s.parked", [(b"k", b"1")])], StoreMeta(layouts=layouts | {"s.parked": "x"}))
    waiting.close()
    _made(tmp_path / "s.4", memory, StoreMeta(layouts={"seen": "other"})).close()
    for partition, said in ((3, r"events wait in s\.parked of s/3"), (4, "state of seen has another layout")):
        with pytest.raises(StateMismatch, match=said):
            _recovery(tmp_path, memory)._open_store(_STAGE, partition)


def test_stores_that_are_kept_are_told_though_one_goes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "s.0").mkdir()
    (tmp_path / "s.1").symlink_to(tmp_path / "gone")  # listed, and not there when it is looked at
    assert list(_recovery(tmp_path, RocksMemory.of(8 << 20, 8 << 20)).kept()) == [("s", 0)]


def test_kept_results_that_cannot_be_opened_are_done_without(tmp_path: Path) -> None:
    """A worker that is about to end has them still, or there is no folder: a cache is worth no outage."""
    folders, plan = ResultFolders(tmp_path), CachePlan(10, 1_000, 1_000, disk_bytes=1 << 20)
    first = folders("asked", plan)
    assert first is not None
    first.put(b"k", 1, b"v")
    (tmp_path / "other").write_text("no folder")
    assert (folders("asked", plan), folders("other", plan)) == (None, None)
    assert first.get(b"k") == (1, b"v")
    first.close()


def _recovery(folder: Path, memory: RocksMemory) -> Recovery:
    return Recovery(load_settings(), "group", folder, memory, Guarantee.EXACTLY_ONCE)


def test_what_a_level_knew_before_it_was_taken_away_is_not_gone_on_from() -> None:
    new, old = (OffsetAndMetadata(7, Progress(watermark_ms).encode()) for watermark_ms in (2_000, 1_000))
    assert newest_progress([None, new, new, old]) == Progress(2_000)
    assert newest_progress([OffsetAndMetadata(7, ""), None]) == Progress()
