"""Snapshots over HTTP, joined to the worker whose topology they are of."""

import asyncio
from typing import Any

from streamflow.bus.control import Control
from streamflow.bus.event_types import EventType
from streamflow.errors import UserError
from streamflow.runtime.worker import Worker


class WorkerSnapshots:
    """Implements `web.ports.Snapshots` over a worker. One is taken or restored at a time; a second one waits."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._turn = worker, asyncio.Lock()

    async def taken(self) -> list[dict[str, Any]]:
        """Of the topology, the oldest first."""
        from streamflow.runtime.snapshot_store import SnapshotStore

        store = SnapshotStore(self._worker.settings.snapshots_url, self._worker.plan.topology)
        return [each.view() for each in await store.all()]

    async def take(self, actor: str) -> dict[str, Any]:
        """Of the run that this worker works for."""
        from streamflow.runtime.snapshot_taking import take

        worker, topic = self._worker, self._worker.control_topic

        async def control() -> Control:
            await topic.caught_up()
            return topic.control

        async with self._turn:
            counts = worker.partition_counts
            view = (await take(worker.plan, worker.settings, control, counts, actor)).view()
        said = {"snapshot": view["id"], "records": view["records"], "size_bytes": view["bytes"]}
        worker.events.emit(EventType.SNAPSHOT_TAKEN, worker.plan.topology, said, actor=actor)
        return view

    async def restore(self, snapshot: str, run: str, origin: str, actor: str) -> dict[str, Any]:
        """Only the live topology has runs."""
        from streamflow.runtime.snapshot_restoring import restore

        worker = self._worker
        if worker.plan.run:
            raise UserError(f"this worker works for run {worker.plan.run}: ask one of the topology itself")
        async with self._turn:
            found = await restore(worker.plan, worker.settings, snapshot, run, origin)
        said = {"snapshot": snapshot, "run": run}
        worker.events.emit(EventType.SNAPSHOT_RESTORED, worker.plan.topology, said, actor=actor)
        return {"run": run, "snapshot": found.view()}
