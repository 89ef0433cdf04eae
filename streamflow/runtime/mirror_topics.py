"""Topics of a mirror: in the target as in the source, but for the replicas, which are the target's own matter."""

import logging
from dataclasses import dataclass

from streamflow.errors import TopicError
from streamflow.plan.plan import TopicPlan, TopicRole
from streamflow.runtime.topics import create_topics, read_topics
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: The header of a copy, and what a batch has around its records.
HEADER_ROOM_BYTES = 1 << 10
_BATCH_MAX_BYTES = 1 << 20
_SIZE = "max.message.bytes"
#: Configuration that says what a topic means; the rest is the target's own matter.
_KEPT = ("cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "message.timestamp.type", _SIZE)


@dataclass(frozen=True, slots=True)
class MirroredTopic:
    """A topic that is copied. batch_bytes: how large its batches may become in the target."""

    partitions: int
    batch_bytes: int


async def mirror_topics(source: Settings, target: Settings, names: tuple[str, ...]) -> dict[str, MirroredTopic]:
    """The topics, created in the target where they are missing.

    Raises TopicError with everything that does not fit, BrokerUnavailable, KafkaRefusal.
    """
    there, here = await read_topics(source, names), await read_topics(target, names)
    problems = [f"topic {name} is not in the source" for name in names if name not in there]
    sizes = {name: int(config[_SIZE]) for name, (_, config) in there.items()}
    for name, (count, config) in here.items():
        if name not in there:
            continue
        if count != there[name][0]:
            problems.append(f"topic {name} has {there[name][0]} partitions in the source, {count} in the target")
        if int(config[_SIZE]) < sizes[name]:
            wanted = f"kafka-configs --alter --topic {name} --add-config {_SIZE}={sizes[name] + HEADER_ROOM_BYTES}"
            problems.append(f"topic {name} takes smaller records in the target than in the source: {wanted}")
    if problems:
        raise TopicError("; ".join(problems))
    missing = [_copy(name, there[name][1]) for name in names if name not in here]
    if missing:
        await create_topics(target, missing, {name: count for name, (count, _) in there.items()})
    return {name: MirroredTopic(there[name][0], min(_BATCH_MAX_BYTES, sizes[name])) for name in names}


def _copy(name: str, config: dict[str, str]) -> TopicPlan:
    kept = {key: config[key] for key in _KEPT if key in config}
    kept[_SIZE] = str(int(kept[_SIZE]) + HEADER_ROOM_BYTES)
    return TopicPlan(name, TopicRole.SOURCE, None, None, tuple(kept.items()), owned=False)
