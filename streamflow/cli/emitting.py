"""How commands say on the bus what a person did."""

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamflow.bus.log import NO_EVENTS, EventLog
from streamflow.settings.settings import Settings

SOURCE = "urn:streamflow:cli"


@asynccontextmanager
async def command_events(settings: Settings) -> AsyncIterator[EventLog]:
    """The bus for one command; events leave before it ends. Raises TopicError, BrokerUnavailable."""
    from streamflow.runtime.event_log import KafkaEventLog
    from streamflow.runtime.topics import ensure_bus

    if settings.events_detail == "off":
        yield NO_EVENTS
        return
    await ensure_bus(settings)
    events = KafkaEventLog(settings, SOURCE, actor())
    await events.start()
    try:
        yield events
    finally:
        await events.stop()


def actor() -> str:
    """Who runs this command, as the operating system knows them."""
    return f"cli:{getpass.getuser()}"
