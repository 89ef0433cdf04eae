"""Ties a worker to its supervisor: a pipe, whose other end closes when the supervisor ends, however it ends."""

import asyncio
import logging
import os

from streamflow.runtime.worker import Worker

log = logging.getLogger(__name__)


def hold(descriptor: int, worker: Worker) -> None:
    """Stop the worker in order when the other end of the pipe closes. Nothing is ever written to it."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(descriptor, 1):
            loop.remove_reader(descriptor)
            log.error("the supervisor is gone")
            if not worker.is_stopping:
                worker.request_stop()

    loop.add_reader(descriptor, read)
