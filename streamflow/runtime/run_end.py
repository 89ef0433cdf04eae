"""Ends a bounded run: stops the worker when every task of the run, on whatever worker, has committed its end.

The commits are asked for, not other workers: they are the truth, also about workers that died meanwhile.
"""

import asyncio
import logging

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect, end
from streamflow.runtime.runs import committed_progress
from streamflow.runtime.worker import Worker

log = logging.getLogger(__name__)

#: Between two looks at the commits, once the own tasks are at their end.
_LOOK_S = 0.3


class RunEnd:
    """A companion of a worker of a bounded run."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._admin = AIOKafkaAdminClient(**connection(worker.settings))
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        await self._admin.start()
        self._watch = asyncio.create_task(self._wait_and_stop(), name="run end")

    async def stop(self) -> None:
        """Look no more."""
        await end(self._watch)
        await disconnect(self._admin)

    async def _wait_and_stop(self) -> None:
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                if self._own_tasks_ended() and await self._all_ended():
                    break
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._worker.fail(error)
        if not self._worker.is_stopping:
            log.info("the run is at its end")
            self._worker.request_stop()

    def _own_tasks_ended(self) -> bool:
        return all(task.has_ended for task in self._worker.host.tasks.values())

    async def _all_ended(self) -> bool:
        worker = self._worker
        try:
            found = await committed_progress(self._admin, worker.plan, worker.settings, worker.partition_counts)
        except KafkaError as error:
            log.warning("the commits of the run cannot be read now: %r", error)
            return False
        return all(progress.has_ended for progress in found.values())
