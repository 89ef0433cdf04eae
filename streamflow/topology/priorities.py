"""Which nodes' rows keep the level that they came with: those of a source with `priorities`, up to the first node that
keeps something. Behind it rows are of no event alone.

    orders (urgent: 8) ──► valid ──► weather.queue ┄┄ .urgent, ordinary ┄┄► weather ──► by_city ┄┄ both ┄┄► hourly
"""

from collections.abc import Mapping

from streamflow.nodes.operators import (
    Apply,
    Await,
    Filter,
    Handover,
    Lookup,
    Operator,
    Output,
    Pass,
    Project,
    Rekey,
    Rescued,
    Score,
    Switch,
    Unfold,
)
from streamflow.nodes.source import SourceConfig
from streamflow.topology.lowering import LoweredNode
from streamflow.topology.names import level_topic, repartition_topic
from streamflow.topology.parts import repartitioned
from streamflow.topology.spec import TopologySpec

_KEEPS_LEVEL = (
    Pass | Filter | Project | Switch | Output | Rescued | Unfold | Rekey | Lookup | Apply | Score | Handover | Await
)


def levels_of(spec: TopologySpec, nodes: Mapping[str, LoweredNode]) -> dict[str, dict[str, int]]:
    """Levels and their shares of every node whose rows have some, the source itself first. Where rows of two sources
    meet, a level that both have has the larger share. `nodes`: in topological order."""
    found: dict[str, dict[str, int]] = {}
    for name, node in nodes.items():
        own = dict(node.config.priorities) if isinstance(node.config, SourceConfig) else {}
        if _keeps_level(node.lowered.operator):
            for parent in node.spec.inputs:
                for level, share in found.get(parent, {}).items():
                    own[level] = max(share, own.get(level, 0))
        if own:
            found[name] = own
    return found


def _keeps_level(operator: Operator) -> bool:
    return isinstance(operator, _KEEPS_LEVEL)


def level_queues(spec: TopologySpec, nodes: Mapping[str, LoweredNode]) -> frozenset[str]:
    """The topics by which rows with a level go from one stage to another."""
    levels = levels_of(spec, nodes)
    return frozenset(
        level_topic(repartition_topic(spec.topology, name), level)
        for name in repartitioned(spec)
        for level in levels.get(name, {})
    )
