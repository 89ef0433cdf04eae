"""How records of a snapshot are written again: workers must see of them what they saw."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streamflow.checkpoint.snapshot import FORMAT, Kept, Manifest
from streamflow.errors import StateMismatch, UserError
from streamflow.model.chunk import Chunk
from streamflow.runtime.hooks import drain
from streamflow.runtime.snapshot_restoring import batches
from streamflow.runtime.snapshot_store import SnapshotStore

_FOLLOWED = (("sf-correlation", b"id"),)
_RETURNED = (*_FOLLOWED, ("sf-time", b"70"), ("sf-parked", b"s/1/k"))


def _read(written: list[list[Kept]]) -> Chunk:
    data, base = b"", 0
    for batch in written:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 20)
        for index, (_, key, value, headers) in enumerate(batch):
            builder.append(index, 9_000, key, value, list(headers))
        built = bytearray(builder.build())
        built[0:8] = base.to_bytes(8, "big")
        data, base = data + bytes(built), base + len(batch)
    drain.install()
    records: Any = PartitionRecords(None, drain.KeptRecords(data), [], 0, None, None, True, READ_COMMITTED)
    return drain.read(records, "t", 0, marks=True, timestamps=False)


def test_what_lay_between_stages_is_read_again_as_it_was() -> None:
    """Checkpoints of the stage before: rows with a watermark behind them, some of executions that are followed."""
    records: list[Kept] = [
        (7, b"k", b"[1]", ()),
        (8, b"k", b"[2]", _FOLLOWED),
        (9, None, b'{"producer":0,"watermark":1}', ()),
        (11, b"k", b"[3]", ()),
        (12, b"k", b"[4]", _FOLLOWED),
        (13, b"k", b"[5]", _RETURNED),
        (14, b"k", b"[6]", _FOLLOWED),
        (16, None, b'{"producer":0,"watermark":2}', ()),
        (17, None, b'{"producer":1,"watermark":2}', ()),
    ]
    written = list(batches(records))
    assert [record for batch in written for record in batch] == records
    chunk = _read(written)
    assert chunk.values == [b"[1]", b"[2]", b"[3]", b"[4]", b"[5]", b"[6]"]
    assert [(mark.index, mark.value[-2:]) for mark in chunk.marks] == [(2, b"1}"), (6, b"2}"), (6, b"2}")]
    assert chunk.correlations == dict.fromkeys((1, 3, 4, 5), b"id")
    assert chunk.returned == {4: b"s/1/k"}
    assert chunk.run_at(4).max_timestamp_ms == 70
    assert chunk.run_at(5).max_timestamp_ms == 9_000


def test_rows_of_a_table_are_one_batch() -> None:
    rows: list[Kept] = [(offset, b"k", b'{"a": 1}', ()) for offset in range(9)]
    assert list(batches(rows)) == [rows]


@pytest.mark.parametrize("name", ["20260131T100000000Z", "..", ".", "x\0y", "x" * 5_000])
def test_what_is_no_snapshot_is_not_looked_for_elsewhere(tmp_path: Path, name: str) -> None:
    store = SnapshotStore(f"file://{tmp_path}", "t")
    with pytest.raises(UserError, match="there is no snapshot"):
        asyncio.run(store.manifest(name))


def test_snapshots_of_another_release_do_not_hide_the_others(tmp_path: Path) -> None:
    store = SnapshotStore(f"file://{tmp_path}", "t")
    names = [f"20260131T10000000{n}Z" for n in range(3)]

    async def act() -> list[Manifest]:
        for name, number in zip(names, (FORMAT, FORMAT + 1, FORMAT), strict=True):
            await store.put_manifest(Manifest(name, "t", 1, 0, "", 1, [], number))
        with pytest.raises(StateMismatch, match="format"):
            await store.manifest(names[1])
        return await store.all()

    assert [each.id for each in asyncio.run(act())] == [names[0], names[2]]
