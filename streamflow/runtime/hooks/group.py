"""Private hook into aiokafka's group coordinator: errors that it keeps for whoever polls next.

The coordinator stops trying until somebody has looked, and ours is never polled through the public way: without a look
a worker that Kafka does not take would stand there for ever, not ready and silent.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import asyncio
from typing import Any

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from streamflow.errors import BrokerUnavailable, KafkaRefusal
from streamflow.settings.settings import Settings

_REMEDIES = {
    InvalidSessionTimeoutError: "it does not allow a session time-out of {session} ms: set "
    "STREAMFLOW_SESSION_TIMEOUT_MS between its group.min.session.timeout.ms and group.max.session.timeout.ms",
    GroupAuthorizationFailedError: "the group may not be read: give this worker's principal Read on it",
    TopicAuthorizationFailedError: "a topic may not be read: give this worker's principal Read on it",
    InconsistentGroupProtocolError: "its members assign partitions in another way: another program uses the group, "
    "set STREAMFLOW_APPLICATION",
    InvalidGroupIdError: "the name of the group is not valid: set STREAMFLOW_APPLICATION",
}


async def check(thread: Any, group: str, settings: Settings) -> None:
    """Take what the coordinator keeps. Raises KafkaRefusal when a restart cannot help, else BrokerUnavailable.

    thread: Faust's consumer thread; the coordinator's futures belong to its loop.
    """
    # The consumer makes its coordinator only when it has reached Kafka.
    coordinator = thread._consumer and thread._consumer._coordinator
    if coordinator is None:
        return
    look = asyncio.run_coroutine_threadsafe(_look(coordinator), thread.thread_loop)
    try:
        await asyncio.wrap_future(look)
    except KafkaError as error:
        if error.retriable:
            return  # looked at; the coordinator tries again
        remedy = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), "")
        if remedy:
            why = remedy.format(session=settings.session_timeout_ms)
            raise KafkaRefusal(f"Kafka does not take this worker into group {group}: {why} ({error})") from error
        raise BrokerUnavailable(f"the worker cannot join group {group}: {error!r}") from error


def is_answered(thread: Any) -> bool:
    """Whether the group's coordinator is known: aiokafka forgets it when it does not answer heartbeats."""
    coordinator = thread._consumer and thread._consumer._coordinator
    return coordinator is not None and coordinator.coordinator_id is not None


async def _look(coordinator: Any) -> None:
    coordinator.check_errors()
