"""Rounds of a run: one bounded run after the other, each from where the one before has ended.

    round n             group, transactional ids, state folder, internal topics: its own, gone when it is over
    all rounds          sinks and dead letters, which have the run's name

    record of n ──► all of n committed ──► record says "over" ──► forget the rest of n ──┐
        ┌────────────────────────────────────────────────────────────────────────────────┘
        └──► record of n+1 begins at the ends of n ──► forget n

The record of the last round is all that is kept between two of them. Every arrow may be interrupted: whoever comes next
finds where it stood. Records go like all offsets that nobody writes, a week by default after they were written
(`offsets.retention.minutes`); then a round refuses to begin rather than read everything again.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamflow.errors import UserError
from streamflow.model.position import encode_token
from streamflow.plan.plan import Plan, TopicRole
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.reset import Leavings, delete, find
from streamflow.runtime.runs import RunRecord, begin, patiently, record_group_of, record_of, write_record
from streamflow.runtime.topics import partition_counts
from streamflow.settings.settings import Settings

#: How long the workers of a round that is over have to leave their group.
_LEAVE_S = 60

#: The plan of a round by its number.
PlanOf = Callable[[int], Plan]


@dataclass(frozen=True, slots=True)
class Round:
    """A round that has begun."""

    number: int
    plan: Plan
    record: RunRecord


async def last_round(plan_of: PlanOf, settings: Settings) -> Round | None:
    """The round that began last, None when there was none. Raises BrokerUnavailable, StateMismatch."""
    numbers = await round_numbers(plan_of, settings)
    if not numbers:
        return None
    plan = plan_of(max(numbers))
    counts = await partition_counts(settings, [each.name for each in plan.topics if each.role is TopicRole.SOURCE])
    record = await patiently(lambda: record_of(plan, settings, counts), f"the record of {plan.identity} cannot be read")
    return None if record is None else Round(max(numbers), plan, record)


async def round_numbers(plan_of: PlanOf, settings: Settings, *, with_topics: bool = False) -> list[int]:
    """Numbers of the rounds that have a record; with_topics: or a topic of their own. Raises BrokerUnavailable."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        groups = [group for group, *_ in await admin.list_consumer_groups()]
        topics = await admin.list_topics() if with_topics else []
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)
    found = _numbers(record_group_of(plan_of(0), settings), groups) | _numbers(plan_of(0).control_topic, topics)
    return sorted(found)


def _numbers(name: str, names: Iterable[str]) -> set[int]:
    """Numbers in names that are like the one of round 0."""
    head, _, tail = name.rpartition("-0")
    pattern = re.compile(rf"{re.escape(head)}-(\d+){re.escape(tail)}")
    return {int(match[1]) for each in names if (match := pattern.fullmatch(each))}


async def begin_round(
    plan_of: PlanOf, settings: Settings, before: Round | None, start: str | None, end: str | None
) -> Round:
    """Begin the round behind one that is over, or the first. start: of the first, and of one whose predecessor's record
    is gone; end: as `--to`.

    Raises UserError when it cannot be known where it begins, and as `begin`.
    """
    number = 1 if before is None else before.number + 1
    plan = plan_of(number)
    if before is None:
        if start is None and await _has_written(plan, settings):
            raise UserError(
                f"{plan.identity} has written before, but where it ended is not known any more: say `--from`, or "
                f"`streamflow reset` it"
            )
    else:
        if start is not None:
            raise UserError(f"round {number} begins where round {before.number} has ended: leave --from out")
        token: dict[str, dict[int, int]] = {}
        for (topic, partition), offset in before.record.ends.items():
            token.setdefault(topic, {})[partition] = offset
        start = encode_token(token)
    record = await begin(plan, settings, start, bounded=True, end=end)
    await forget_before(plan_of, settings, number)
    return Round(number, plan, record)


async def forget_before(plan_of: PlanOf, settings: Settings, number: int) -> None:
    """Delete what is left of rounds before this one."""
    for each in await round_numbers(plan_of, settings):
        if each < number:
            await delete(await find(plan_of(each), settings, outputs=False), settings)


async def keep(done: Round, settings: Settings) -> None:
    """Write a round's record anew, so that Kafka does not let it go."""
    fault = f"the record of {done.plan.identity} cannot be written"
    await patiently(lambda: write_record(done.plan, settings, done.record), fault)


async def end_round(done: Round, settings: Settings) -> Round:
    """All of a round is committed: write so, and forget what nobody needs any more. May be done again.

    Raises UserError while workers of it are alive a minute later, BrokerUnavailable.
    """
    over = replace(done, record=replace(done.record, is_over=True))
    await keep(over, settings)
    found = await _left(done.plan, settings)
    groups = [group for group in found.groups if group != record_group_of(done.plan, settings)]
    await delete(replace(found, groups=groups), settings)
    return over


async def with_rounds(found: Leavings, plan_of: PlanOf, settings: Settings) -> Leavings:
    """What a reset of a run deletes, with what is left of its rounds. Raises as `find`."""
    for number in await round_numbers(plan_of, settings, with_topics=True):
        more = await find(plan_of(number), settings, outputs=False)
        found = Leavings(found.groups + more.groups, found.topics + more.topics, found.folders + more.folders)
    return found


async def _left(plan: Plan, settings: Settings) -> Leavings:
    for _ in range(_LEAVE_S):
        try:
            return await find(plan, settings, outputs=False)
        except UserError:  # workers elsewhere are still on their way out
            await asyncio.sleep(1)
    return await find(plan, settings, outputs=False)


async def _has_written(plan: Plan, settings: Settings) -> bool:
    names = [each.name for each in plan.topics if each.role in (TopicRole.SINK, TopicRole.DEAD_LETTERS)]
    for topic, count in (await partition_counts(settings, names)).items():
        for partition in range(count):
            async with CommittedLog(settings, topic, partition) as log:
                if log.end:
                    return True
    return False
