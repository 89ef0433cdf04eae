"""Cuts a topology into parts: the nodes that run together, one stage each.

    departures ─ flown ─ by_carrier ┄┄topic┄┄ hourly ─ out
    └────── part "departures" ──┘             └ part "by_carrier" ┘

A key_by writes to a repartition topic when a stateful node lies behind it before the next key_by, or a node next to it
has its rows come by topic (queues.py); the queue of such a node does always. What stays connected when these edges are
cut is a part; global tables stand beside the parts, in none. Only kinds, edges and what nodes require matter here, so
that it can be checked before anything else is known to be right.
"""

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from streamflow.topology.graph import children_of, cycles, ordered
from streamflow.topology.kinds import kind_of, rekeys
from streamflow.topology.queues import comes_by_topic
from streamflow.topology.spec import NodeSpec, TopologySpec

#: Names of stages, a dot and a partition behind them, become folders: most file systems take 255 bytes.
_NAME_MAX_CHARS = 248
_FIRST_CHARS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes that run together.

    entries: sources and key_bys whose rows come in by topic, in topological order. nodes: all others, likewise; a
    key_by that writes a repartition topic is a node of the part that writes it and an entry of the part that reads it.
    """

    entries: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the stage: its entries, or the first ones and a digest of all when they are too many."""
        whole = "+".join(self.entries)
        if len(whole) <= _NAME_MAX_CHARS:
            return whole
        return f"{whole[:_FIRST_CHARS]}+{sha256(whole.encode()).hexdigest()[:16]}"


def repartitioned(spec: TopologySpec) -> frozenset[str]:
    """Names of the key_bys and queues whose rows go through a topic."""
    children = children_of(spec)
    meets_state: dict[str, bool] = {}
    for node in reversed(ordered(spec)):
        meets_state[node.name] = any(
            _is_stateful(child) or (not rekeys(child) and meets_state.get(child.name, False))
            for child in children[node.name]
        )
    return frozenset(
        node.name
        for node in spec.nodes
        if node.queue_of
        or (rekeys(node) and meets_state.get(node.name, False))
        or (rekeys(node) and any(comes_by_topic(child, [node]) for child in children[node.name]))
    )


def cut(spec: TopologySpec) -> tuple[Part, ...]:
    """The parts, each after those that write its repartition topics (as far as there is such an order)."""
    cuts = repartitioned(spec)
    groups = _Groups()
    order = [node for node in ordered(spec) if node.kind != "global_table"]
    streams = {node.name for node in order}
    for node in order:
        groups.add(node.name)
        if node.name in cuts:
            groups.add(_behind(node.name))
        for parent in filter(streams.__contains__, node.inputs):
            groups.join(_behind(parent) if parent in cuts else parent, node.name)
    entries: dict[str, list[str]] = {}
    nodes: dict[str, list[str]] = {}
    for node in order:
        (nodes if node.inputs else entries).setdefault(groups.of(node.name), []).append(node.name)
        if node.name in cuts:
            entries.setdefault(groups.of(_behind(node.name)), []).append(node.name)
    parts = [Part(tuple(names), tuple(nodes.get(group, ()))) for group, names in entries.items()]
    return _writers_first(parts)


def feedback(spec: TopologySpec) -> list[list[str]]:
    """Key_bys through which parts wait for their own rows: [k1, k2] when k1's rows come back to it through k2.

    A part's watermark is the least of its entries, and a repartition topic's watermark is that of the part that writes
    it. In a circle of parts each would wait for the others for ever.
    """
    parts = cut(spec)
    writer = {name: part for part in parts for name in part.nodes}
    reads = {part.name: [writer[entry].name for entry in part.entries if entry in writer] for part in parts}
    by_name = {part.name: part for part in parts}
    return [[_link(writer, before, by_name[to]) for before, to in pairwise(circle)] for circle in cycles(reads)]


def _link(writer: dict[str, Part], before: str, to: Part) -> str:
    return next(entry for entry in to.entries if entry in writer and writer[entry].name == before)


def _writers_first(parts: list[Part]) -> tuple[Part, ...]:
    done: list[Part] = []
    written: set[str] = set()
    everywhere = {name for part in parts for name in part.nodes}
    waiting = list(parts)
    while waiting:
        ready = [part for part in waiting if all(e in written or e not in everywhere for e in part.entries)] or waiting
        done += ready
        written |= {name for part in ready for name in part.nodes}
        waiting = [part for part in waiting if part not in ready]
    return tuple(done)


def _is_stateful(node: NodeSpec) -> bool:
    kind = kind_of(node)
    return kind is not None and kind.stateful and not node.queue_of


def _behind(key_by: str) -> str:
    """The reading side of a cut key_by. Node names hold no ">"."""
    return f"{key_by}>"


class _Groups:
    """Union-find over names; a group is called by its first member."""

    def __init__(self) -> None:
        self._leader: dict[str, str] = {}

    def add(self, name: str) -> None:
        self._leader.setdefault(name, name)

    def of(self, name: str) -> str:
        while self._leader[name] != name:
            name = self._leader[name]
        return name

    def join(self, first: str, second: str) -> None:
        self._leader[self.of(second)] = self.of(first)
