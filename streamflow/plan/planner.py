"""From a declared topology to the plan: which stages run, which topics and tables there must be.

topology ──resolve──► checked nodes ──┐
   └──────cut────────► parts ─────────┴──► stages ──► topics
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from streamflow.errors import Problem, TopologyError
from streamflow.inference.card import REGISTRY_MAX_BYTES, REGISTRY_MAX_ROWS, REGISTRY_SCHEMA
from streamflow.model.approval import DECISION
from streamflow.nodes.foreign_operators import Answer, Settle, Subscribe
from streamflow.nodes.global_table import GlobalTableConfig
from streamflow.nodes.join_operators import Combine, Join, Upsert, VersionLookup
from streamflow.nodes.model import ModelConfig
from streamflow.nodes.operators import Distinct, Fold, Limit, Park, Process
from streamflow.nodes.sink import SinkConfig
from streamflow.nodes.source import FarTime, SourceConfig
from streamflow.plan.deliveries import with_deliveries
from streamflow.plan.held_back import behind_ms, held_back_ms
from streamflow.plan.parking import with_parking
from streamflow.plan.plan import (
    Entry,
    EntryKind,
    ErrorBudget,
    FarPolicy,
    GlobalTablePlan,
    Guarantee,
    Plan,
    PlannedNode,
    Stage,
    TablePlan,
    TimeBound,
    TimerPlan,
)
from streamflow.plan.stage_bounds import stage_problems
from streamflow.plan.topics import plan_topics
from streamflow.topology.emission import unmetered
from streamflow.topology.lowering import LoweredNode
from streamflow.topology.names import (
    changelog_topic,
    control_topic,
    dead_letter_topic,
    decisions_topic,
    letter_decision_topic,
    level_topic,
    outcome_topic,
    publish_key_topic,
    repartition_topic,
)
from streamflow.topology.parts import Part, cut, repartitioned
from streamflow.topology.priorities import levels_of
from streamflow.topology.resolve import resolve
from streamflow.topology.spec import TopologySpec


def make_plan(spec: TopologySpec) -> Plan:
    """The plan of a topology. Raises TopologyError with every problem that was found."""
    resolved = resolve(spec)
    if resolved.problems:
        raise TopologyError(resolved.problems)
    stages = with_deliveries(spec.topology, _Stages(resolved.spec, resolved.nodes).all())
    too_much = stage_problems(stages)
    if too_much:
        raise TopologyError(tuple(too_much))
    tables = _global_tables(resolved.nodes)
    return Plan(
        topology=spec.topology,
        version=spec.version,
        guarantee=Guarantee(spec.guarantee),
        stages=stages,
        topics=plan_topics(spec.topology, stages, _declared_partitions(resolved.nodes), tables),
        dead_letter_topic=dead_letter_topic(spec.topology),
        letter_decision_topic=letter_decision_topic(spec.topology),
        publish_key_topic=publish_key_topic(spec.topology),
        outcome_topic=outcome_topic(spec.topology),
        control_topic=control_topic(spec.topology),
        global_tables=tables,
        repairs=tuple(repair.note for repair in resolved.repairs),
        error_budgets=tuple(
            ErrorBudget(node, each.failures, each.percent, each.at_least, each.per)
            for node, each in spec.error_budgets.items()
        ),
        timers=tuple(_timers(resolved.nodes)),
        unmetered=unmetered(resolved.spec),
    )


def check_partitions(plan: Plan, counts: Mapping[str, int]) -> list[Problem]:
    """Stages whose inputs have different partition counts, given the real counts of existing topics."""
    problems = []
    for stage in plan.stages:
        found = {topic: counts[topic] for topic in stage.input_topics if topic in counts}
        if len(set(found.values())) > 1:
            shown = ", ".join(f"{topic} has {count}" for topic, count in sorted(found.items()))
            real = [
                f"{entry.node}: partitions: {counts[entry.topic]}"
                for entry in stage.entries
                if entry.kind is EntryKind.SOURCE and entry.topic in counts
            ]
            remedy = (
                f"declare what is real ({', '.join(real)}), and a join gets the repartition that it needs; or put a "
            )
            remedy += "key_by before they meet, or recreate one"
            problems.append(Problem(f"stage {stage.name}", f"partition counts differ: {shown}", remedy))
    return problems


class _Stages:
    """Makes a stage of every part."""

    def __init__(self, spec: TopologySpec, nodes: Mapping[str, LoweredNode]) -> None:
        self._topology = spec.topology
        self._nodes, self._parking = nodes, spec.parking
        self._parts = cut(spec)
        self._repartitioned = repartitioned(spec)
        self._stage_of = {name: part.name for part in self._parts for name in part.nodes}
        self._idle_after_ms = self._longest_idle_after()
        #: Of the nodes of the stages made so far.
        self._held_ms: dict[str, int] = {}
        self._levels = levels_of(spec, self._nodes)

    def all(self) -> tuple[Stage, ...]:
        """The stages, writers of repartition topics before their readers."""
        return tuple(self._stage(part) for part in self._parts)

    def _longest_idle_after(self) -> dict[str, int]:
        """For every node the longest `idle_after` of the sources before it."""
        found: dict[str, int] = {}
        for name, node in self._nodes.items():  # in topological order
            own = node.config.idle_after if isinstance(node.config, SourceConfig) else 0
            found[name] = max([own, *(found[parent] for parent in node.spec.inputs)])
        return found

    def _stage(self, part: Part) -> Stage:
        nodes = [self._nodes[name] for name in part.nodes]
        planned = tuple(self._planned(node) for node in nodes)
        entries = (*(self._entry(self._nodes[name]) for name in part.entries), *self._decisions(nodes))
        entries, parked = with_parking(self._topology, entries, self._parking)
        entries = (*entries, *self._level_entries(entries))
        held_ms = held_back_ms(planned)
        self._held_ms |= held_ms
        tables = (
            self._table(node, behind_ms(each, held_ms))
            for node, each in zip(nodes, planned, strict=True)
            if node.lowered.table is not None
        )
        own = [name for name in part.entries if isinstance(self._nodes[name].config, SourceConfig)]  # others write it
        specs = [self._nodes[name].spec for name in (*own, *part.nodes)]
        requires = tuple((spec.name, spec.requires) for spec in specs if spec.requires)
        return Stage(part.name, entries, planned, (*tables, *parked), requires)

    def _entry(self, node: LoweredNode) -> Entry:
        flow, config, name = node.lowered.output, node.config, node.spec.name
        if isinstance(config, SourceConfig):
            return Entry(
                topic=config.topic,
                node=name,
                kind=EntryKind.SOURCE,
                schema=flow.schema,
                key=flow.key,
                event_time=config.event_time,
                watermark_delay_ms=config.watermark_delay,
                processing_time=config.time == "processing",
                future=_bound(config, config.future),
                past=_bound(config, config.past),
                idle_after_ms=config.idle_after,
                reject_unknown_fields=config.unknown_fields == "reject",
                execution_id=config.execution_id,
                execution_header=config.execution_header,
            )
        return Entry(
            topic=repartition_topic(self._topology, name),
            node=name,
            kind=EntryKind.REPARTITION,
            schema=flow.schema,
            key=flow.key,
            idle_after_ms=self._idle_after_ms[name],
            producer_stage=self._stage_of[name],
            held_back_ms=self._held_ms[name],
        )

    def _level_entries(self, entries: tuple[Entry, ...]) -> Iterator[Entry]:
        """Behind all others, whose numbers are in the progress of tasks that have run without them."""
        for entry in entries:
            for level, share in self._levels.get(entry.node, {}).items():
                yield replace(entry, topic=level_topic(entry.topic, level), level=level, share=share)

    def _decisions(self, nodes: list[LoweredNode]) -> Iterator[Entry]:
        """Behind the entries of rows, so that those lead."""
        for name in (node.spec.name for node in nodes if isinstance(node.lowered.operator, Park)):
            topic, node = decisions_topic(self._topology, name), f"{name}.decisions"
            yield Entry(topic, node, EntryKind.DECISIONS, DECISION, None, event_time="at", decides=name)

    def _planned(self, node: LoweredNode) -> PlannedNode:
        spec, flow = node.spec, node.lowered.output
        topic = repartition_topic(self._topology, spec.name) if spec.name in self._repartitioned else None
        levels = self._levels.get(spec.name, {}) if topic is not None else {}
        return PlannedNode(
            name=spec.name,
            kind=spec.kind,
            operator=node.lowered.operator,
            inputs=spec.inputs,
            schema=flow.schema,
            key_name=flow.key_name,
            key=flow.key,
            repartition_topic=topic,
            level_topics=tuple((level, level_topic(topic or "", level)) for level in levels),
        )

    def _table(self, node: LoweredNode, lag_ms: int) -> TablePlan:
        """`lag_ms`: how far behind the watermark the node lives."""
        shape, flow = node.lowered.table, node.lowered.output
        assert shape is not None
        return TablePlan(
            name=shape.name,
            node=node.spec.name,
            changelog_topic=changelog_topic(self._topology, shape.name),
            layout=_layout(node, lag_ms),
            row_schema=shape.row_schema or flow.schema,
            key_name=flow.key_name,
            window=shape.window,
            lateness_ms=shape.lateness_ms + lag_ms,
            retention_ms=shape.retention_ms and shape.retention_ms + lag_ms,
            passing=shape.passing,
        )


def _timers(nodes: Mapping[str, LoweredNode]) -> Iterator[TimerPlan]:
    for name, node in nodes.items():
        source = node.config
        if isinstance(source, SourceConfig) and source.timer is not None and source.event_time is not None:
            timer, makes_up = source.timer, source.timer.missed == "all"
            rows = tuple(timer.rows)
            yield TimerPlan(name, source.topic, source.event_time, source.key, timer.every, rows, makes_up)


def _bound(source: SourceConfig, bound: FarTime | None) -> TimeBound | None:
    """Only a field can differ from the record's time."""
    if source.event_time is None or bound is None or bound.policy == "accept":
        return None
    return TimeBound(bound.limit, FarPolicy(bound.policy))


def _layout(node: LoweredNode, lag_ms: int) -> str:
    """Digest of everything that gives the bytes of a table their meaning. Held back otherwise, windows fire again."""
    operator = node.lowered.operator
    parts = [node.spec.kind, node.lowered.output.key.type if node.lowered.output.key else ""]
    if isinstance(operator, Fold):
        parts.append(operator.window.layout + " corrects" * operator.corrects + " seen" * operator.keeps_seen)
        parts += ["rows"] * bool(operator.trigger_rows)
        for each in operator.aggregates:
            argument = each.argument.source if each.argument else ""
            parts.append(f"{each.name}={each.aggregate.state}({argument})")
    if isinstance(operator, Process):
        parts.append(operator.declared.layout)
    if isinstance(operator, Park):
        parts.append(f"parked1 {', '.join(map(str, operator.row.fields))}")
    if isinstance(operator, Limit):
        parts.append(f"parts of {operator.per_ms}")
    if isinstance(operator, Distinct):
        parts.append(f"{operator.slot_ms} " + ",".join(part.source for part in operator.parts))
    if isinstance(operator, Join | VersionLookup | Combine | Upsert | Subscribe | Answer | Settle):
        parts.append(operator.layout)
    if lag_ms and isinstance(operator, Fold | Join):
        parts.append(f"held back {lag_ms}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _declared_partitions(nodes: Mapping[str, LoweredNode]) -> dict[str, int]:
    found = {}
    for node in nodes.values():
        config = node.config
        if isinstance(config, SourceConfig | SinkConfig | GlobalTableConfig) and config.partitions is not None:
            found[config.topic] = config.partitions
            if isinstance(config, SourceConfig):
                found |= dict.fromkeys(config.level_topics.values(), config.partitions)
        if isinstance(config, ModelConfig):
            found[config.registry] = 1
    return found


def _global_tables(nodes: Mapping[str, LoweredNode]) -> tuple[GlobalTablePlan, ...]:
    found = []
    for name, node in nodes.items():
        config, schema = node.config, node.lowered.output.schema
        if isinstance(config, GlobalTableConfig):
            found.append(GlobalTablePlan(name, config.topic, schema, config.key, config.max_rows, config.max_bytes))
    # Cards of models are a table that nobody declares; a node's name has no dot or is another one.
    topics = sorted({node.config.registry for node in nodes.values() if isinstance(node.config, ModelConfig)})
    found += [
        GlobalTablePlan(topic, topic, REGISTRY_SCHEMA, "id", REGISTRY_MAX_ROWS, REGISTRY_MAX_BYTES) for topic in topics
    ]
    return tuple(found)
