"""From a declared topology to the plan: cut at repartition edges, and say which topics and tables there must be.

    departures ─ flown ─ by_carrier ┄┄┄topic┄┄┄ hourly ─ out
    └────── stage "departures" ──┘              └ stage "by_carrier" ┘

A key_by writes to a repartition topic when a stateful node lies behind it before the next key_by. What stays connected
when these edges are cut is a stage.
"""

import hashlib
from collections.abc import Mapping

from streamflow.errors import Problem, TopologyError
from streamflow.nodes.operators import Count, Emit, Fold
from streamflow.nodes.sink import SinkConfig
from streamflow.nodes.source import SourceConfig
from streamflow.plan.lowering import LoweredNode, TopologyLowering, ordered
from streamflow.plan.plan import Entry, EntryKind, Guarantee, Plan, PlannedNode, Stage, TablePlan
from streamflow.plan.topics import plan_topics
from streamflow.topology.checks import check_graph
from streamflow.topology.spec import TopologySpec


def make_plan(spec: TopologySpec) -> Plan:
    """The plan of a topology. Raises TopologyError with every problem that was found."""
    problems = check_graph(spec)
    lowering = TopologyLowering(spec)
    problems += lowering.problems
    problems += _check_topics(lowering.nodes) + _check_tables(lowering.nodes)
    if problems:
        raise TopologyError(tuple(dict.fromkeys(problems)))
    cut = _Cut(spec, lowering.nodes)
    stages = cut.stages()
    dead_letters = f"{spec.topology}.dead_letters"
    return Plan(
        topology=spec.topology,
        version=spec.version,
        guarantee=Guarantee(spec.guarantee),
        stages=stages,
        topics=plan_topics(stages, dead_letters, _declared_partitions(lowering.nodes)),
        dead_letter_topic=dead_letters,
    )


def check_partitions(plan: Plan, counts: Mapping[str, int]) -> list[Problem]:
    """Stages whose inputs have different partition counts, given the real counts of existing topics."""
    problems = []
    for stage in plan.stages:
        found = {topic: counts[topic] for topic in stage.input_topics if topic in counts}
        if len(set(found.values())) > 1:
            shown = ", ".join(f"{topic} has {count}" for topic, count in sorted(found.items()))
            remedy = "inputs that meet need equally many partitions: recreate one, or put a key_by before the merge"
            problems.append(Problem(f"stage {stage.name}", f"partition counts differ: {shown}", remedy))
    return problems


class _Cut:
    """Cuts the lowered graph into stages."""

    def __init__(self, spec: TopologySpec, nodes: dict[str, LoweredNode]) -> None:
        self._topology = spec.topology
        self._nodes = nodes
        self._order = [node.name for node in ordered(spec)]
        self._children: dict[str, list[str]] = {}
        for name in self._order:
            for parent in nodes[name].spec.inputs:
                self._children.setdefault(parent, []).append(name)
        self._repartitions = {n for n in self._order if nodes[n].lowered.rekeys and self._meets_state(n)}

    def _meets_state(self, name: str) -> bool:
        """Whether a stateful node lies behind before the next key_by."""
        for child in self._children.get(name, []):
            lowered = self._nodes[child].lowered
            if isinstance(lowered.operator, Fold | Count):
                return True
            if not lowered.rekeys and self._meets_state(child):
                return True
        return False

    def stages(self) -> tuple[Stage, ...]:
        """Connected parts, in topological order of their first node."""
        part_of: dict[str, str] = {}
        for name in self._order:
            roots = {part_of[_side(parent, self._repartitions)] for parent in self._nodes[name].spec.inputs}
            root = min(roots, key=list(part_of).index) if roots else name
            for known, before in part_of.items():
                if before in roots:
                    part_of[known] = root
            part_of[name] = root
            if name in self._repartitions:
                part_of[name + ">"] = name + ">"
        parts = dict.fromkeys(part_of.values())
        members = {part: [known for known, its in part_of.items() if its == part] for part in parts}
        names = {part: "+".join(self._entry_names(members[part])) for part in parts}
        stage_of = {known: names[part] for known, part in part_of.items()}
        return tuple(self._stage(names[part], members[part], stage_of) for part in parts)

    def _entry_names(self, members: list[str]) -> list[str]:
        return [m.removesuffix(">") for m in members if m.endswith(">") or not self._nodes[m].spec.inputs]

    def _stage(self, name: str, members: list[str], stage_of: dict[str, str]) -> Stage:
        entries = [self._entry(m, stage_of) for m in members if m.endswith(">") or not self._nodes[m].spec.inputs]
        inner = [self._nodes[m] for m in self._order if m in members and self._nodes[m].spec.inputs]
        tables = [self._table(node) for node in inner if node.lowered.table is not None]
        return Stage(name, tuple(entries), tuple(self._planned(node) for node in inner), tuple(tables))

    def _entry(self, member: str, stage_of: dict[str, str]) -> Entry:
        node = self._nodes[member.removesuffix(">")]
        flow, config = node.lowered.output, node.config
        if isinstance(config, SourceConfig):
            return Entry(
                topic=config.topic,
                node=node.spec.name,
                kind=EntryKind.SOURCE,
                schema=flow.schema,
                key=flow.key,
                event_time=config.event_time,
                watermark_delay_ms=config.watermark_delay,
                max_ahead_ms=config.max_ahead,
                idle_after_ms=config.idle_after,
                reject_unknown_fields=config.unknown_fields == "reject",
            )
        return Entry(
            topic=self._repartition_topic(node.spec.name),
            node=node.spec.name,
            kind=EntryKind.REPARTITION,
            schema=flow.schema,
            key=flow.key,
            idle_after_ms=self._idle_after_ms(node.spec.name),
            producer_stage=stage_of[node.spec.name],
        )

    def _idle_after_ms(self, name: str) -> int:
        """The longest `idle_after` of the sources behind a node."""
        node = self._nodes[name]
        if isinstance(node.config, SourceConfig):
            return node.config.idle_after
        return max(self._idle_after_ms(parent) for parent in node.spec.inputs)

    def _repartition_topic(self, name: str) -> str:
        return f"{self._topology}.{name}.repartition"

    def _planned(self, node: LoweredNode) -> PlannedNode:
        spec, flow = node.spec, node.lowered.output
        topic = self._repartition_topic(spec.name) if spec.name in self._repartitions else None
        return PlannedNode(
            spec.name, spec.kind, node.lowered.operator, spec.inputs, flow.schema, flow.key_name, flow.key, topic
        )

    def _table(self, node: LoweredNode) -> TablePlan:
        shape = node.lowered.table
        assert shape is not None
        flow = node.lowered.output
        return TablePlan(
            name=shape.name,
            node=node.spec.name,
            windowed=shape.windowed,
            changelog_topic=f"{self._topology}.{shape.name}.changelog",
            layout=_layout(node),
            row_schema=flow.schema,
            key_name=flow.key_name,
            size_ms=shape.size_ms,
            offset_ms=shape.offset_ms,
            retention_ms=shape.retention_ms,
        )


def _side(parent: str, repartitions: set[str]) -> str:
    """The side of a cut edge that a child is on: behind the repartition topic."""
    return parent + ">" if parent in repartitions else parent


def _layout(node: LoweredNode) -> str:
    """Digest of everything that gives the bytes of a table their meaning."""
    operator = node.lowered.operator
    parts = [node.spec.kind, node.lowered.output.key.type if node.lowered.output.key else ""]
    if isinstance(operator, Fold):
        parts += [f"tumbling {operator.window.size_ms} {operator.window.offset_ms}"]
        for each in operator.aggregates:
            argument = each.argument.source if each.argument else ""
            parts.append(f"{each.name}={each.aggregate.name}/{each.aggregate.version}({argument})")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _check_tables(nodes: dict[str, LoweredNode]) -> list[Problem]:
    problems, owners = [], dict[str, str]()
    for name, node in nodes.items():
        table = node.lowered.table
        if table is None:
            continue
        if table.name in owners:
            message = f"table {table.name!r} is kept by node {owners[table.name]!r} already"
            problems.append(Problem(f"nodes.{name}.table", message, "give it another name"))
        owners.setdefault(table.name, name)
    return problems


def _check_topics(nodes: dict[str, LoweredNode]) -> list[Problem]:
    problems, sources = [], dict[str, str]()
    for name, node in nodes.items():
        if isinstance(node.config, SourceConfig):
            if node.config.topic in sources:
                message = f"topic {node.config.topic!r} is read by source {sources[node.config.topic]!r} already"
                problems.append(Problem(f"nodes.{name}.topic", message, "read it once and branch behind it"))
            sources.setdefault(node.config.topic, name)
    for name, node in nodes.items():
        if isinstance(node.lowered.operator, Emit) and node.lowered.operator.topic in sources:
            message = f"topic {node.lowered.operator.topic!r} is also a source: events would go round for ever"
            problems.append(Problem(f"nodes.{name}.topic", message, "write to another topic"))
    return problems


def _declared_partitions(nodes: dict[str, LoweredNode]) -> dict[str, int]:
    found = {}
    for node in nodes.values():
        if isinstance(node.config, SourceConfig | SinkConfig) and node.config.partitions is not None:
            found[node.config.topic] = node.config.partitions
    return found
