"""Which topics a second region needs of the first, to compute the same by itself."""

from collections.abc import Sequence

from streamflow.plan.plan import Plan, TopicRole
from streamflow.plan.topics import written_topics

_READ = (TopicRole.SOURCE, TopicRole.GLOBAL_TABLE)


def mirrored_topics(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Sources and global tables of the topologies, without what they write and the moments of their timers: those come
    to be in both regions."""
    topics = [topic for plan in plans for topic in plan.topics]
    nodes = [node for plan in plans for stage in plan.stages for node in stage.nodes]
    written = {name for node in nodes for name in written_topics(node.operator)}
    written |= {timer.topic for plan in plans for timer in plan.timers}
    return tuple(sorted({topic.name for topic in topics if topic.role in _READ} - written))
