"""Resolves a topology: every check there is, and what the nodes become. The one place that knows all problems."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from streamflow.errors import Problem
from streamflow.nodes.global_table import GlobalTableConfig
from streamflow.nodes.kind import NodeConfig
from streamflow.nodes.sink import SinkConfig
from streamflow.nodes.source import SourceConfig
from streamflow.topology.budgets import check_budgets
from streamflow.topology.checks import check_graph
from streamflow.topology.copartition import Repair, copartitioned
from streamflow.topology.emission import check_metrics
from streamflow.topology.foreign import as_written, with_foreign_joins
from streamflow.topology.lowering import LoweredNode, TopologyLowering
from streamflow.topology.names import internal_topics
from streamflow.topology.outputs import with_outputs
from streamflow.topology.parking import check_parking
from streamflow.topology.priorities import level_queues
from streamflow.topology.queues import with_queues
from streamflow.topology.spec import TopologySpec

#: Options of nodes that name a topic.
TOPIC_OPTIONS = ("topic", "late", "incomplete", "excess", "registry")


@dataclass(frozen=True, slots=True)
class Resolved:
    """nodes: by name what each became, complete when there is no problem.

    spec: the topology with the repartitions that were put in (`repairs`) so that inputs meet.
    """

    spec: TopologySpec
    nodes: Mapping[str, LoweredNode]
    problems: tuple[Problem, ...]
    repairs: tuple[Repair, ...] = ()


def resolve(written: TopologySpec) -> Resolved:
    """Check everything; never raises for a topology that is merely wrong."""
    met = copartitioned(with_foreign_joins(with_outputs(written)))
    spec = with_queues(met.spec)
    lowering = TopologyLowering(spec)
    problems = [
        *check_graph(spec),
        *check_budgets(written),
        *check_metrics(written),
        *check_parking(written, spec, lowering.nodes),
        *lowering.problems,
        *_check_topics(spec, lowering),
        *_check_tables(lowering),
    ]
    told = dict.fromkeys(met.as_written(as_written(spec, _of_node(each))) for each in problems)
    return Resolved(spec, lowering.nodes, tuple(told), met.repairs)


def _of_node(problem: Problem) -> Problem:
    """A problem of a queue is one of its node."""
    parts = problem.place.split(".")
    if parts[0] == "nodes" and parts[2:3] == ["queue"]:
        return replace(problem, place=".".join(parts[:2] + parts[3:]))
    return problem


def _check_tables(lowering: TopologyLowering) -> list[Problem]:
    problems, owners = [], dict[str, str]()
    for name, node in lowering.nodes.items():
        kept = node.lowered.table
        table = kept.name if kept is not None else name if isinstance(node.config, GlobalTableConfig) else None
        if table is not None and owners.setdefault(table, name) != name:
            message = f"table {table!r} is kept by node {owners[table]!r} already"
            problems.append(Problem(f"nodes.{name}.table", message, "give it another name"))
    return problems


def _check_topics(spec: TopologySpec, lowering: TopologyLowering) -> list[Problem]:
    """Topics that are read twice, written and read, created in two ways, or streamflow's own."""
    problems = []
    sources, partitions = dict[str, str](), dict[str, int]()
    tables = [node.lowered.table.name for node in lowering.nodes.values() if node.lowered.table is not None]
    own = internal_topics(spec, tables) | level_queues(spec, lowering.nodes)
    for name, config in lowering.configs.items():
        if not isinstance(config, SourceConfig | GlobalTableConfig):
            continue
        if sources.setdefault(config.topic, name) != name:
            message = f"topic {config.topic!r} is read by {_said(lowering, sources[config.topic])} already"
            problems.append(Problem(f"nodes.{name}.topic", message, "read it once and branch behind it"))
    for name, topic in _level_topics(lowering):
        if sources.setdefault(topic, name) != name or topic in own:
            message = f"topic {topic!r} of a level is another one already"
            problems.append(Problem(f"nodes.{name}.priorities", message, "give the level another name"))
    for name, config in lowering.configs.items():
        is_reader = isinstance(config, SourceConfig | GlobalTableConfig)
        for option, topic in _topics(config):
            place = f"nodes.{name}.{option}"
            if not is_reader and topic in sources:
                reader = _said(lowering, sources[topic])
                message = f"topic {topic!r} is also read by {reader}: events would go round"
                problems.append(Problem(place, message, "write to another topic"))
            if topic in own:
                message = f"topic {topic!r} is one of the topology's own"
                problems.append(Problem(place, message, "use another topic"))
        if not isinstance(config, SourceConfig | SinkConfig | GlobalTableConfig):
            continue
        declared = config.partitions
        if declared is not None and partitions.setdefault(config.topic, declared) != declared:
            message = f"topic {config.topic!r} is declared with {partitions[config.topic]} and {declared} partitions"
            problems.append(Problem(f"nodes.{name}.partitions", message, "declare one number"))
    return problems


def _level_topics(lowering: TopologyLowering) -> Iterator[tuple[str, str]]:
    """Sources and the topics of their levels."""
    for name, config in lowering.configs.items():
        if isinstance(config, SourceConfig):
            for topic in config.level_topics.values():
                yield name, topic


def _topics(config: NodeConfig) -> list[tuple[str, str]]:
    """Every topic that a node names, with its option."""
    found = [(option, getattr(config, option, None)) for option in TOPIC_OPTIONS]
    return [(option, topic) for option, topic in found if isinstance(topic, str)]


def _said(lowering: TopologyLowering, name: str) -> str:
    """A node that reads a topic, in words."""
    kind = "source" if isinstance(lowering.configs[name], SourceConfig) else "global table"
    return f"{kind} {name!r}"
