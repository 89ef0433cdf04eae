"""Opens the state of a task: what the new owner does before it works.

    1. initialise the producer        the predecessor is fenced, its open transaction ended   (transaction.py)
    2. read the committed offsets     stable now; with the progress in their metadata
    3. open the store, read its meta  unreadable, of another format, or from before a reset: deleted, rebuilt from the
                                      changelog; open elsewhere: refused, and left alone
    4. replay the changelog           [meta, end) with a consumer of its own, in read_committed, by position: control
                                      records leave gaps, and an empty changelog is done at once; rows of another
                                      layout are refused (changelog.py)
    5. compare the offsets with the store's
    6. seek, resume                   (task_host.py)

A store behind the changelog is normal. A store ahead of it, or of the committed offsets, means that topics or offsets
were changed by somebody else: refused with StateMismatch, never guessed.
"""

import logging
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.checkpoint.progress import Progress
from streamflow.errors import BrokerUnavailable, StateMismatch, StoreFailed
from streamflow.plan.plan import Guarantee, Stage, TablePlan
from streamflow.runtime import faults
from streamflow.runtime.changelog import Changelog, LayoutCheck, OtherLayout
from streamflow.runtime.connection import connection
from streamflow.runtime.group_offsets import committed_offsets
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings
from streamflow.state.rocksdb import RocksMemory, RocksStore
from streamflow.state.store import StoreMeta, TableChanges
from streamflow.state.write_behind import WriteBehindStore
from streamflow.topology.names import is_parked_table

log = logging.getLogger(__name__)

#: A changelog that gives nothing for this long while it is not at its end is a failure, not patience.
STALL_S = 30.0

Place = tuple[str, int]


@dataclass(slots=True)
class RestoreProgress:
    """How far a restore is: records read, records to read at the start, seconds since its start."""

    done: int = 0
    total: int = 0
    started_at: float = 0.0

    @property
    def ratio(self) -> float:
        """Between 0 and 1; 1 when there is nothing to do."""
        return 1.0 if self.total <= 0 else min(1.0, self.done / self.total)

    @property
    def remaining_s(self) -> float | None:
        """Estimate of the seconds left, None before anything was read."""
        spent = time.monotonic() - self.started_at
        return None if self.done <= 0 else spent / self.done * max(0, self.total - self.done)


@dataclass(frozen=True, slots=True)
class OpenState:
    """A restored store and where the inputs continue."""

    store: WriteBehindStore
    meta: StoreMeta
    progress: Progress
    positions: dict[Place, int]


class Recovery:
    """Restores tasks of one worker. Each restore has a consumer of its own."""

    def __init__(self, settings: Settings, group: str, folder: Path, memory: RocksMemory, guarantee: Guarantee) -> None:
        drain.install()
        self._exactly_once = guarantee is Guarantee.EXACTLY_ONCE
        self._settings, self._group, self._folder, self._memory = settings, group, folder, memory

    async def open(self, stage: Stage, partition: int, report: RestoreProgress) -> OpenState:
        """Store and positions of a task whose producer is initialised. Raises StateMismatch, StateInUse,
        BrokerUnavailable."""
        try:
            progress, positions = await self._positions(stage, partition)
        except KafkaError as error:
            raise BrokerUnavailable(f"{stage.name}/{partition} cannot be restored: {error!r}") from error
        store, meta = self._open_store(stage, partition, progress.life)
        try:
            if stage.tables:
                try:
                    meta = await self._replay(store, meta, stage, partition, report, is_new=progress == Progress())
                except _ChangelogTrimmed as error:
                    log.warning("the store of %s/%s is rebuilt: %s", stage.name, partition, error)
                    store.close()
                    shutil.rmtree(self._path(stage, partition), ignore_errors=True)
                    store, meta = self._open_store(stage, partition, progress.life)
                    meta = await self._replay(store, meta, stage, partition, report, is_new=False)
                except OtherLayout:
                    store.close()  # some of the rows may have reached it
                    shutil.rmtree(self._path(stage, partition), ignore_errors=True)
                    raise
            progress, positions = self._reconciled(meta, progress, positions, stage)
        except KafkaError as error:
            store.close()
            raise BrokerUnavailable(f"{stage.name}/{partition} cannot be restored: {error!r}") from error
        except BaseException:
            store.close()
            raise
        return OpenState(store, meta, progress, positions)

    def _reconciled(
        self, meta: StoreMeta, progress: Progress, positions: dict[Place, int], stage: Stage
    ) -> tuple[Progress, dict[Place, int]]:
        """Positions to go on from.

        Exactly once: the committed ones, and a store ahead of them is refused. At least once: offsets follow the store,
        so a store that is ahead says where to go on.
        """
        if self._exactly_once:
            _check_inputs(meta, positions, stage)
            return progress, positions
        known = {place: meta.inputs.get(f"{place[0]}/{place[1]}", 0) for place in positions}
        if all(known[place] <= offset for place, offset in positions.items()):
            return progress, positions
        return Progress.decode(meta.progress), {place: max(known[place], offset) for place, offset in positions.items()}

    def kept(self) -> dict[tuple[str, int], int]:
        """Tasks, as (stage, partition), whose stores are on this disk, and when they were written last, s."""
        found = {}
        for path in self._folder.iterdir() if self._folder.exists() else ():
            stage, _, partition = path.name.rpartition(".")
            if stage and partition.isdigit():
                with suppress(FileNotFoundError):  # a store is rebuilt meanwhile: this is called from another thread
                    found[stage, int(partition)] = int(path.stat().st_mtime)
        return found

    def _path(self, stage: Stage, partition: int) -> Path:
        return self._folder / f"{stage.name}.{partition}"

    def _open_store(self, stage: Stage, partition: int, life: str = "") -> tuple[WriteBehindStore, StoreMeta]:
        path, at = self._path(stage, partition), (stage.name, partition)
        layouts = {table.name: table.layout for table in stage.tables}
        disk: RocksStore | None = None
        try:
            disk = RocksStore.open(path, self._memory)
            meta = disk.read_meta()
        except (StateMismatch, StoreFailed) as error:
            if disk is not None:
                disk.close()
            log.warning("the store of %s/%s is rebuilt from its changelog: %s", stage.name, partition, error)
            shutil.rmtree(path, ignore_errors=True)
            disk, meta = RocksStore.open(path, self._memory), None
        before = "" if meta is None else Progress.decode(meta.progress).life
        if life and before and life != before:
            log.warning("the store of %s/%s is rebuilt from its changelog: it is from before a reset", *at)
            disk.close()
            shutil.rmtree(path, ignore_errors=True)
            disk, meta = RocksStore.open(path, self._memory), None
        if meta is not None and dict(meta.layouts) != layouts:
            gone = meta.layouts.keys() - layouts.keys()
            waiting = sorted(t for t in gone if is_parked_table(t) and next(disk.scan(t), None) is not None)
            changed = sorted(t for t in layouts if meta.layouts.get(t, layouts[t]) != layouts[t])
            if changed or waiting or gone:
                disk.close()
            if changed:
                raise StateMismatch(
                    f"the state of {', '.join(changed)} has another layout than the topology: "
                    f"give the changed tables new names, or reset the topology"
                )
            if waiting:
                raise StateMismatch(
                    f"events wait in {', '.join(waiting)} of {stage.name}/{partition}, and the topology parks there no "
                    f"more: declare `parking` as before, and redrive or discard what they wait behind, before it goes"
                )
            if gone:
                names = ", ".join(sorted(gone))
                log.warning("the store of %s/%s is rebuilt: %s are gone", stage.name, partition, names)
                shutil.rmtree(path, ignore_errors=True)
                return self._open_store(stage, partition, life)
            meta = replace(meta, layouts=layouts)  # tables that are new begin with their changelogs
        store = WriteBehindStore(disk, lambda: time.monotonic() * 1_000)
        # The life is noted at once: the task may move on before its first checkpoint here.
        return store, meta or StoreMeta(layouts=layouts, progress=Progress(life=life).encode() if life else "")

    async def _replay(
        self,
        store: WriteBehindStore,
        meta: StoreMeta,
        stage: Stage,
        partition: int,
        report: RestoreProgress,
        *,
        is_new: bool,
    ) -> StoreMeta:
        consumer = AIOKafkaConsumer(
            **connection(self._settings),
            client_rack=self._settings.client_rack or None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=100,
        )
        try:
            await consumer.start()
            by_tp = {TopicPartition(table.changelog_topic, partition): table for table in stage.tables}
            consumer.assign(list(by_tp))
            first = await consumer.beginning_offsets(list(by_tp))
            last = await consumer.end_offsets(list(by_tp))
            starts = {tp: _start(tp, table, meta, first[tp], last[tp], is_new) for tp, table in by_tp.items()}
            for tp, offset in starts.items():
                consumer.seek(tp, offset)
            report.started_at = time.monotonic()
            report.total = sum(last[tp] - starts[tp] for tp in by_tp)
            return await _read_to_end(consumer, by_tp, starts, last, store, meta, report)
        finally:
            await disconnect(consumer)

    async def _positions(self, stage: Stage, partition: int) -> tuple[Progress, dict[Place, int]]:
        """Committed offsets (the log's start where there is none) and the progress in their metadata."""
        tps = [TopicPartition(topic, partition) for topic in stage.input_topics]
        consumer = AIOKafkaConsumer(**connection(self._settings), enable_auto_commit=False)
        try:
            await consumer.start()
            consumer.assign(tps)  # learns of all topics at once; asked for offsets alone, it does so one by one
            consumer.pause(*tps)
            committed = await committed_offsets(self._settings, self._group, tps)
            first = await consumer.beginning_offsets(tps)
        finally:
            await disconnect(consumer)
        positions: dict[Place, int] = {}
        for tp in tps:
            found = committed.get(tp)
            offset = found.offset if found is not None else first[tp]
            if offset < first[tp]:
                log.error("%s/%s: records %s to %s are gone by retention before they were read", *tp, offset, first[tp])
                offset = first[tp]
            positions[tp.topic, tp.partition] = offset
        return newest_progress(map(committed.get, tps)), positions


def newest_progress(committed: Iterable[OffsetAndMetadata | None]) -> Progress:
    """Of what is committed of a task's inputs, in the order of its entries. A commit has all inputs; levels, which come
    last, may have been taken away for a while, and what is known of them is old."""
    return Progress.decode(next((each.metadata for each in committed if each is not None and each.metadata), ""))


class _ChangelogTrimmed(Exception):
    """The changelog no longer has what the store lacks."""


def _start(tp: TopicPartition, table: TablePlan, meta: StoreMeta, first: int, last: int, is_new: bool) -> int:
    known = meta.changelog.get(table.name)
    if known is None:
        return first
    if known < first:
        # Deletions between the two may be gone from the changelog, so what the store has cannot be trusted.
        raise _ChangelogTrimmed(f"it knows {tp.topic}/{tp.partition} up to {known}, which begins at {first} now")
    if known > last and is_new and last == 0:
        raise _ChangelogTrimmed(f"it knows {tp.topic}/{tp.partition} up to {known}, and the topology has begun anew")
    if known > last:
        raise StateMismatch(
            f"the store knows {tp.topic}/{tp.partition} up to {known}, but it ends at {last}: the topic was recreated. "
            f"Reset the topology, or restore the topic"
        )
    return known


async def _read_to_end(
    consumer: AIOKafkaConsumer,
    by_tp: dict[TopicPartition, TablePlan],
    positions: dict[TopicPartition, int],
    last: dict[TopicPartition, int],
    store: WriteBehindStore,
    meta: StoreMeta,
    report: RestoreProgress,
) -> StoreMeta:
    """Apply batches until every position is at its end; compares positions, because control records leave gaps."""
    waiting = {tp for tp in by_tp if positions[tp] < last[tp]}
    checks = {tp: LayoutCheck(Changelog(tp.topic, tp.partition, table.layout)) for tp, table in by_tp.items()}
    moved_at = time.monotonic()
    while waiting:
        for tp, (pairs, position) in (await drain.next_pairs(consumer, 0.5)).items():
            moved_at = time.monotonic()
            table = by_tp[tp]
            rows = checks[tp].rows(list(pairs), is_end=position >= last[tp])
            meta = replace(meta, changelog={**meta.changelog, table.name: position})
            store.write([TableChanges(table.name, rows)], meta)
            report.done += len(pairs)
            if position >= last[tp]:
                waiting.discard(tp)
            faults.reach("during_restore")
        if time.monotonic() - moved_at > STALL_S:
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(waiting))
            raise BrokerUnavailable(f"nothing came from {names} for {STALL_S:.0f} s while restoring")
    store.flush()
    return meta


def _check_inputs(meta: StoreMeta, positions: dict[Place, int], stage: Stage) -> None:
    for (topic, partition), offset in positions.items():
        known = meta.inputs.get(f"{topic}/{partition}")
        if known is not None and known > offset:
            raise StateMismatch(
                f"the state of {stage.name}/{partition} reflects {topic}/{partition} up to {known}, but {offset} is "
                f"committed: offsets were reset from outside. Reset the topology to replay"
            )
