"""Lowers every node of a topology to operators, input by input, gathering every problem."""

from dataclasses import dataclass

from pydantic import ValidationError

from streamflow.errors import Problem
from streamflow.model.schema import Schema, parse_fields
from streamflow.nodes.kind import Flow, Lowered, Lowering, NodeConfig
from streamflow.nodes.registry import KINDS, near_kinds
from streamflow.nodes.source import SourceConfig
from streamflow.topology.document import problems_of
from streamflow.topology.spec import NodeSpec, TopologySpec


@dataclass(frozen=True, slots=True)
class LoweredNode:
    """A node with its checked configuration and what it became."""

    spec: NodeSpec
    config: NodeConfig
    lowered: Lowered


class TopologyLowering:
    """Lowers nodes in topological order. A node whose input failed is left out without a problem of its own."""

    def __init__(self, spec: TopologySpec) -> None:
        self.problems: list[Problem] = []
        self.nodes: dict[str, LoweredNode] = {}
        self._spec = spec
        self._schemas = self._parse_schemas()
        for node in ordered(spec):
            self._lower(node)

    def _parse_schemas(self) -> dict[str, Schema]:
        schemas = {}
        for name, fields in self._spec.schemas.items():
            parsed, problems = parse_fields(fields)
            self.problems += [Problem(f"schemas.{name}.{field}", message) for field, message in problems]
            schemas[name] = Schema(name, parsed)
        return schemas

    def _lower(self, node: NodeSpec) -> None:
        kind = KINDS.get(node.kind)
        if kind is None:
            self.problems.append(
                Problem(f"nodes.{node.name}.kind", f"unknown kind {node.kind!r}", near_kinds(node.kind))
            )
            return
        try:
            config = kind.config_type.model_validate(dict(node.config))
        except ValidationError as error:
            self.problems += problems_of(error, f"nodes.{node.name}")
            return
        flow = self._source_flow(node, config) if isinstance(config, SourceConfig) else self._input_flow(node)
        if flow is None:
            return
        lowering = Lowering(node.name, flow)
        lowered = kind.lower(config, lowering)
        self.problems += lowering.problems
        if lowered is not None and not lowering.problems:
            if isinstance(config, SourceConfig) and config.key is not None:
                key = lowering.expression(config.key, "key")
                lowered = Lowered(lowered.operator, Flow(flow.schema, key, config.key))
            self.nodes[node.name] = LoweredNode(node, config, lowered)

    def _source_flow(self, node: NodeSpec, config: SourceConfig) -> Flow | None:
        schema = self._schemas.get(config.schema_name)
        if schema is None:
            remedy = f"schemas are {', '.join(self._schemas) or 'none'}"
            self.problems.append(Problem(f"nodes.{node.name}.schema", f"unknown schema {config.schema_name!r}", remedy))
            return None
        return Flow(schema)

    def _input_flow(self, node: NodeSpec) -> Flow | None:
        found = [self.nodes.get(name) for name in node.inputs]
        flows = [each.lowered.output for each in found if each is not None]
        if not flows or len(flows) < len(found):
            return None
        first = flows[0]
        for name, flow in zip(node.inputs[1:], flows[1:], strict=True):
            if flow.schema.fields != first.schema.fields:
                message = f"inputs {node.inputs[0]!r} and {name!r} have different fields"
                remedy = "bring them to one schema with map"
                self.problems.append(Problem(f"nodes.{node.name}.inputs", message, remedy))
                return None
            if flow.key != first.key:
                message = f"inputs {node.inputs[0]!r} and {name!r} have different keys"
                self.problems.append(
                    Problem(f"nodes.{node.name}.inputs", message, "put one key_by behind the merge or before each")
                )
                return None
        return Flow(first.schema, first.key, first.key_name, any(flow.repeats for flow in flows))


def ordered(spec: TopologySpec) -> list[NodeSpec]:
    """Nodes in topological order, ties as declared; nodes of a cycle are left out."""
    done: list[NodeSpec] = []
    names: set[str] = set()
    waiting = list(spec.nodes)
    while ready := [node for node in waiting if all(name in names for name in node.inputs)]:
        done += ready
        names |= {node.name for node in ready}
        waiting = [node for node in waiting if node.name not in names]
    return done
