"""Forgets a run: its offsets, record, internal topics and local state, so that it can begin anew.

    live run      internal topics; sources, sinks and dead letters stay
    run r         everything that has its name, its sinks and dead letters too

Groups go last: a reset that was interrupted still finds what is left, and must be run again before the next start.
State folders of workers on other machines are not seen from here: a worker that finds one builds it anew, as it is of
another life than the committed progress, or knows of more than the changelog, which is empty. Where there are no tables
it refuses to begin before the place that it knows, and says so.
"""

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamflow.errors import BrokerUnavailable, TopicError, UserError
from streamflow.plan.plan import Plan, TopicRole
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.hooks.groups import delete_group
from streamflow.runtime.runs import group_of, record_group_of
from streamflow.settings.settings import Settings

_INTERNAL = (
    TopicRole.REPARTITION,
    TopicRole.DECISIONS,
    TopicRole.CHANGELOG,
    TopicRole.OUTCOMES,
    TopicRole.CONTROL,
)
_OF_A_RUN = (*_INTERNAL, TopicRole.SINK, TopicRole.DEAD_LETTERS, TopicRole.LETTER_DECISIONS)
_GONE_S = 30.0
_STEP_S = 0.2
_UNKNOWN_TOPIC = 3


@dataclass(frozen=True, slots=True)
class Leavings:
    """What a run has left behind and a reset deletes."""

    groups: list[str]
    topics: list[str]
    folders: list[Path]

    def __bool__(self) -> bool:
        return bool(self.groups or self.topics or self.folders)


async def find(plan: Plan, settings: Settings, *, outputs: bool = True) -> Leavings:
    """What is there of a run; outputs: with its sinks and dead letters. Raises UserError while workers of it are alive,
    BrokerUnavailable."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        await _refuse_alive(admin, group_of(plan, settings))
        known = set(await admin.list_topics())
        groups = {group for group, *_ in await admin.list_consumer_groups()}
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)
    roles = _OF_A_RUN if plan.run and outputs else _INTERNAL
    base = settings.state_dir
    return Leavings(
        [group for group in (group_of(plan, settings), record_group_of(plan, settings)) if group in groups],
        sorted(topic.name for topic in plan.topics if topic.role in roles and topic.name in known),
        sorted(each for each in (base / plan.identity, *base.glob(f"worker-*/{plan.identity}")) if each.is_dir()),
    )


async def _refuse_alive(admin: AIOKafkaAdminClient, group: str) -> None:
    for response in await admin.describe_consumer_groups([group]):
        for _, name, _, _, _, members, *_ in response.groups:
            if members:
                raise UserError(
                    f"{len(members)} workers of {name} are alive: stop them first; one that was killed leaves "
                    f"the group after its session time-out"
                )


async def delete(leavings: Leavings, settings: Settings) -> None:
    """Delete all of it; returns when the topics are gone. Raises TopicError, BrokerUnavailable."""
    for folder in leavings.folders:
        shutil.rmtree(folder)
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        if leavings.topics:
            await _delete_topics(admin, leavings.topics)
        for group in leavings.groups:
            await delete_group(admin, group)
    except KafkaError as error:
        raise BrokerUnavailable(f"the reset is not complete, run it again: {error!r}") from error
    finally:
        await disconnect(admin)


async def _delete_topics(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    response = await admin.delete_topics(topics, timeout_ms=15_000)
    failed = [f"{name}: error {code}" for name, code in response.topic_error_codes if code not in (0, _UNKNOWN_TOPIC)]
    if failed:
        raise TopicError(f"topics cannot be deleted: {', '.join(failed)}")
    deadline = time.monotonic() + _GONE_S
    while left := set(topics).intersection(await admin.list_topics()):
        if time.monotonic() > deadline:
            raise TopicError(f"topics are still there after {_GONE_S:.0f} s: {', '.join(sorted(left))}")
        await asyncio.sleep(_STEP_S)
