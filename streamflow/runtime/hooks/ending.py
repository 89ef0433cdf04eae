"""Private hook into aiokafka's clients: they end within a bound, whatever has become of Kafka.

By themselves they wait for what is not sent yet, for requests on their way (40 s), for a rebalance, and over TLS for
the broker's last word (30 s); a fetch that is ended between two attempts cancels whoever stops its consumer; and
somebody who is cancelled while it waits for them may not notice. So each ends in a task of its own, and what is left
after the bound is cut: connections closed, background work cancelled.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

log = logging.getLogger(__name__)

#: How long a client has to end by itself, seconds.
END_S = 5.0
#: A task that is cancelled may have a client to end.
_AGAIN_S = END_S + 1
#: Tasks of a coordinator, with and without a group.
_COORDINATING = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")


async def disconnect(*clients: Any, within_s: float = END_S) -> None:
    """End clients (None is none), all at once, within `within_s` seconds. Raises nothing; what had to be cut is said in
    the log."""
    await asyncio.gather(*(_disconnect(client, within_s) for client in clients if client is not None))


async def _disconnect(client: Any, within_s: float) -> None:
    stop = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    ending = asyncio.create_task(stop, name="disconnect")
    try:
        await asyncio.wait([ending], timeout=within_s)
    finally:
        if not ending.done():
            ending.cancel()
            log.warning("%s did not end within %.0f s and is cut", type(client).__name__, within_s)
            _cut(client)
        elif ending.cancelled() or ending.exception() is not None:
            why = "a cancellation of its own" if ending.cancelled() else repr(ending.exception())
            log.info("%s ended by %s", type(client).__name__, why)
            _cut(client)


def _cut(client: Any) -> None:
    """Let nothing of it go on; may be called however far it has started or ended."""
    if isinstance(client, AIOKafkaProducer):
        network, running = client.client, [client._sender and client._sender.sender_task]
    elif isinstance(client, AIOKafkaConsumer):
        network, running = client._client, [getattr(client._coordinator, name, None) for name in _COORDINATING]
        if client._fetcher is not None:
            running += [client._fetcher._fetch_task, *client._fetcher._pending_tasks]
    else:
        network, running = client._client, []
    for task in (*running, network._sync_task):
        if task is not None:
            task.cancel()
    for connection in list(network._conns.values()):
        connection.close()


async def end(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task and wait until it has ended, however it ends; again from time to time, as it may be swallowed."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_S)
