"""Brings the inputs that meet in a node to one partitioning: rows of one key must come to one task.

    paid: {kind: join, inputs: [orders, payments], on: order_id}          orders are keyed by customer
    ──►  paid_orders_key: {kind: key_by, input: orders, key: order_id}    a repartition, put in and told in the plan
         paid: {kind: join, inputs: [paid_orders_key, payments], …}

Where it is needed follows from kinds, edges and configurations as written, so that everything behind (parts, lowering,
checks) sees an ordinary topology. It errs on the safe side: when it cannot see that an input has the key already, it
repartitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamflow.errors import Problem
from streamflow.topology.graph import ordered
from streamflow.topology.kinds import kind_of, rekeys
from streamflow.topology.names import free_name
from streamflow.topology.spec import NodeSpec, TopologySpec


@dataclass(frozen=True, slots=True)
class Repair:
    """A key_by that was put in between `input` and `node`, and why."""

    key_by: str
    node: str
    input: str
    key: str
    reason: str

    @property
    def note(self) -> str:
        """What the plan's reader is told."""
        return (
            f"{self.node}: rows of {self.input} are repartitioned by {self.key} ({self.key_by}), because {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Copartitioned:
    """The topology with every repair in it. Names of inputs that a configuration uses stay those that were written."""

    spec: TopologySpec
    repairs: tuple[Repair, ...] = ()

    def as_written(self, problem: Problem) -> Problem:
        """A problem of a node that was put in is one of the key that asked for it."""
        for repair in self.repairs:
            inner = f"nodes.{repair.key_by}"
            if problem.place == inner or problem.place.startswith(f"{inner}."):
                return replace(problem, place=f"nodes.{repair.node}.on")
        return problem


def copartitioned(spec: TopologySpec) -> Copartitioned:
    """Put a key_by before every input that needs one."""
    repairs: list[Repair] = []
    by_name = {node.name: node for node in spec.nodes}
    keys = _keys(spec)
    counts = _counts(spec)
    names = set(by_name)
    nodes: list[NodeSpec] = []
    for node in spec.nodes:
        changed = dict[str, str]()
        for name, wanted in _wanted(node).items():
            reason = _reason(node, name, wanted, keys, counts, by_name)
            key = wanted or keys.get(name)
            if reason is None or key is None or name not in by_name:
                continue
            key_by = free_name(f"{node.name}_{name}"[:56] + "_key", names)
            names.add(key_by)
            changed[name] = key_by
            repairs.append(Repair(key_by, node.name, name, key, reason))
            nodes.append(NodeSpec(name=key_by, kind="key_by", inputs=(name,), config={"key": key}))
        inputs = tuple(changed.get(name, name) for name in node.inputs)
        update = {"inputs": inputs, "written_inputs": node.inputs}
        nodes.append(node.model_copy(update=update) if changed else node)
    if not repairs:
        return Copartitioned(spec)
    return Copartitioned(spec.model_copy(update={"nodes": tuple(nodes)}), tuple(repairs))


def _wanted(node: NodeSpec) -> Mapping[str, str | None]:
    """Per input of a node that takes them apart the key that it asks for, None when the input's own will do."""
    kind = kind_of(node)
    if kind is None or kind.inputs_apart is None:
        return {}
    on = node.config.get("on")
    each = list(on) if isinstance(on, list) else [on] * (1 if kind.on_first_only else len(node.inputs))
    texts = [key if isinstance(key, str) else None for key in each]
    texts += [None] * (len(node.inputs) - len(texts))
    return dict(zip(node.inputs, texts, strict=False))


def _reason(
    node: NodeSpec,
    name: str,
    wanted: str | None,
    keys: Mapping[str, str | None],
    counts: Mapping[str, int],
    by_name: Mapping[str, NodeSpec],
) -> str | None:
    """Why an input has to be repartitioned, None when it has not."""
    own = keys.get(name)
    if wanted is not None and wanted != own:
        return f"their key is {own}" if own is not None else "they have no known key"
    if _is_table(by_name, name):
        return None  # a table is its node's: its rows cannot be moved behind it
    meant = _meant_count(node, counts, by_name)
    if name in counts and counts[name] != meant:
        return f"their topic has {counts[name]} partitions, not {meant}"
    return None


def _meant_count(node: NodeSpec, counts: Mapping[str, int], by_name: Mapping[str, NodeSpec]) -> int:
    """Partitions that the inputs are brought to: those of a table among them, else the most."""
    known = [counts[name] for name in node.inputs if name in counts]
    tables = [counts[name] for name in node.inputs if name in counts and _is_table(by_name, name)]
    return tables[0] if tables else max(known, default=0)


def _is_table(by_name: Mapping[str, NodeSpec], name: str) -> bool:
    return name in by_name and by_name[name].kind == "table"


def _keys(spec: TopologySpec) -> dict[str, str | None]:
    """Source text of the key of every node's rows as far as it is plain to see; None where it is not."""
    found: dict[str, str | None] = {}
    for node in ordered(spec):
        before = {found.get(name) for name in node.inputs}
        own: Any = next(iter(before)) if len(before) == 1 else None
        match node.kind:
            case "source" | "key_by":
                own = node.config.get("key")
            case "map" if own in _listed(node.config.get("set")):
                own = None  # the field of that name is another one from here on
            case "filter" | "pass_through" | "echo" | "threshold" | "multiply" | "map" | "table" | "window":
                pass
            case "branch" | "sample" | "anomaly":
                pass
            case _:
                own = None
        if node.kind == "multiply" and own in (node.config.get("field"), node.config.get("into")):
            own = None
        found[node.name] = own if isinstance(own, str) else None
    return found


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Mapping) else ()


def _counts(spec: TopologySpec) -> dict[str, int]:
    """Declared partitions of the source that a node's rows come from without a repartition between."""
    found: dict[str, int] = {}
    for node in ordered(spec):
        if rekeys(node):
            continue
        if node.kind == "source":
            count = node.config.get("partitions")
            if isinstance(count, int):
                found[node.name] = count
        else:
            before = [found[name] for name in node.inputs if name in found]
            if before:
                found[node.name] = before[0]
    return found
