"""Runs: the same plan under another identity, so that it reads the sources anew and touches nothing of the live one.

             group, transactional ids, state folder    repartition, changelog, sink and own other topics
live run     <topology>                                as declared
run r        <topology>.<r>                            as declared, with `.r` behind
round n of r <topology>.<r>-<n>                        with `.r-n` behind; sinks and dead letters with `.r`

Pure: gives a new plan.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from streamflow.errors import UserError
from streamflow.plan.plan import Entry, Plan, PlannedNode, Stage, TopicPlan, TopicRole

#: A topic name of 200 characters with a run behind it still fits into Kafka's 249.
_RUN = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
#: Idle for so long is never: no source of a bounded run is left out of the watermark.
_NEVER_MS = 1 << 62
_OUTWARD = (TopicRole.SINK, TopicRole.DEAD_LETTERS, TopicRole.LETTER_DECISIONS)
#: Results of calls are the same in every run: none asks for what another has asked for.
_READ = (TopicRole.SOURCE, TopicRole.GLOBAL_TABLE, TopicRole.PUBLISH_KEYS, TopicRole.KEPT_RESULTS)


def into_run(plan: Plan, run: str, *, outputs: str = "") -> Plan:
    """The plan as run `run`; outputs: what stands behind the names of topics that others read, the run's own name when
    empty. Raises UserError for a name that cannot be part of a topic's."""
    if not _RUN.fullmatch(run):
        raise UserError(
            f"run name {run!r} is not allowed: up to 40 small letters, digits, dashes or underscores, "
            f"beginning with a letter or digit"
        )
    names = {
        topic.name: f"{topic.name}.{outputs or run if topic.role in _OUTWARD else run}"
        for topic in plan.topics
        if topic.role not in _READ
    }
    return replace(
        plan,
        run=run,
        stages=tuple(_stage(stage, names) for stage in plan.stages),
        topics=tuple(_topic(topic, names) for topic in plan.topics),
        dead_letter_topic=names[plan.dead_letter_topic],
        letter_decision_topic=names[plan.letter_decision_topic],
        outcome_topic=names[plan.outcome_topic],
        control_topic=names[plan.control_topic],
    )


def bounded(plan: Plan) -> Plan:
    """The plan for a run that ends: nothing is idle, because everything is waited for; but no event waits behind a dead
    letter, as nobody would let it go: it is one too."""
    stages = tuple(replace(stage, entries=tuple(_ending(entry) for entry in stage.entries)) for stage in plan.stages)
    return replace(plan, stages=stages)


def _ending(entry: Entry) -> Entry:
    parks = None if entry.parks is None else replace(entry.parks, max_waiting=0)
    return replace(entry, idle_after_ms=_NEVER_MS, parks=parks)


def _stage(stage: Stage, names: Mapping[str, str]) -> Stage:
    return replace(
        stage,
        entries=tuple(replace(entry, topic=_renamed(entry.topic, names)) for entry in stage.entries),
        nodes=tuple(_node(node, names) for node in stage.nodes),
        tables=tuple(replace(table, changelog_topic=_renamed(table.changelog_topic, names)) for table in stage.tables),
    )


def _node(node: PlannedNode, names: Mapping[str, str]) -> PlannedNode:
    topic = node.repartition_topic
    operator: Any = node.operator
    changed = {
        each.name: names[value]
        for each in fields(operator)
        if each.name.endswith("topic") and isinstance(value := getattr(operator, each.name), str) and value in names
    }
    return replace(
        node,
        operator=replace(operator, **changed) if changed else operator,
        repartition_topic=None if topic is None else _renamed(topic, names),
        level_topics=tuple((level, _renamed(each, names)) for level, each in node.level_topics),
    )


def _topic(topic: TopicPlan, names: Mapping[str, str]) -> TopicPlan:
    like = topic.partitions_like
    return replace(
        topic, name=_renamed(topic.name, names), partitions_like=None if like is None else _renamed(like, names)
    )


def _renamed(topic: str, names: Mapping[str, str]) -> str:
    return names.get(topic, topic)
