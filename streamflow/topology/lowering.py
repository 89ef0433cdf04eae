"""Lowers every node of a topology to operators, input by input, gathering every problem."""

from dataclasses import dataclass

from pydantic import ValidationError

from streamflow.errors import Problem
from streamflow.model.expression import field_expression
from streamflow.model.names import near_name
from streamflow.model.schema import Field, FieldType, Schema, parse_fields
from streamflow.nodes.global_table import GlobalTableConfig
from streamflow.nodes.identity import identity_of
from streamflow.nodes.kind import Flow, Lowered, Lowering, NodeConfig
from streamflow.nodes.operators import KEY_FIELD, RESCUABLE, Handover, Output, Rescued
from streamflow.nodes.registry import near_kinds
from streamflow.nodes.resilience import AsyncConfig
from streamflow.nodes.source import SourceConfig
from streamflow.topology.config_problems import problems_of
from streamflow.topology.graph import ordered
from streamflow.topology.kinds import kind_of
from streamflow.topology.spec import NodeSpec, TopologySpec


@dataclass(frozen=True, slots=True)
class LoweredNode:
    """A node with its checked configuration and what it became."""

    spec: NodeSpec
    config: NodeConfig
    lowered: Lowered


class TopologyLowering:
    """Lowers global tables, then nodes in topological order.

    configs: of every node whose configuration is well formed, those that no source leads to included. nodes: what could
    be lowered. A node whose schema or input failed is left out without a problem of its own: mending the first one may
    mend it too.
    """

    def __init__(self, spec: TopologySpec) -> None:
        self.problems: list[Problem] = []
        self.configs: dict[str, NodeConfig] = {}
        self.nodes: dict[str, LoweredNode] = {}
        #: What is handed over by each queue; what comes into each node.
        self._flows: dict[str, Flow] = {}
        self._incoming: dict[str, Flow] = {}
        self._schemas: dict[str, Schema | None] = {}
        self._tables: dict[str, Flow | None] = {node.name: None for node in spec.nodes if node.kind == "global_table"}
        self._parse_schemas(spec)
        for node in spec.nodes:
            if not (node.output_of or node.queue_of):
                self._configure(node)
        for node in sorted(ordered(spec), key=lambda each: each.name not in self._tables):
            if node.queue_of:
                self._queue(node)
            elif node.name in self.configs:
                self._lower(node, self.configs[node.name])
            elif node.output_of in self.nodes:
                self._output(node, self.nodes[node.output_of].lowered)

    def _parse_schemas(self, spec: TopologySpec) -> None:
        for name, fields in spec.schemas.items():
            parsed, problems = parse_fields(fields)
            self.problems += [Problem(f"schemas.{name}.{field}", message) for field, message in problems]
            self._schemas[name] = Schema(name, parsed) if parsed and not problems else None

    def _configure(self, node: NodeSpec) -> None:
        kind = kind_of(node)
        if kind is None:
            message = f"unknown kind {node.kind!r}"
            self.problems.append(Problem(f"nodes.{node.name}.kind", message, near_kinds(node.kind)))
            return
        try:
            self.configs[node.name] = kind.config_type.model_validate(dict(node.config))
        except ValidationError as error:
            if not node.part_of:  # it was made from the configuration of that node, which tells
                self.problems += problems_of(error, f"nodes.{node.name}", kind.config_type)

    def _queue(self, node: NodeSpec) -> None:
        """Rows go over with their key, which need not be among their fields."""
        flow = self._input_flow(node)
        if flow is None:
            return
        schema, key = flow.schema, flow.key
        if key is not None:
            schema = Schema(schema.name, (*schema.fields, Field(KEY_FIELD, FieldType(key.type), key.nullable)))
            key = field_expression(schema, KEY_FIELD)
        self._flows[node.name] = flow
        over = Flow(schema, key, flow.key_name, flow.repeats)
        self.nodes[node.name] = LoweredNode(node, NodeConfig(), Lowered(Handover(), over))

    def _output(self, node: NodeSpec, of: Lowered) -> None:
        """One output of several, or the rows that fail at a node, which are those that come into it."""
        flow = of.outputs.get(node.name.removeprefix(f"{node.output_of}."))
        if flow is not None:
            self.nodes[node.name] = LoweredNode(node, NodeConfig(), Lowered(Output(), flow))
        elif isinstance(of.operator, RESCUABLE):
            lowered = Lowered(Rescued(), self._incoming[node.output_of])
            self.nodes[node.name] = LoweredNode(node, NodeConfig(), lowered)
        else:
            message = f"rows that fail in a {node.kind} cannot go on elsewhere"
            remedy = "leave them to the dead letters, or compute what may fail in a map before it"
            self.problems.append(Problem(f"nodes.{node.output_of}", message, remedy))

    def _lower(self, node: NodeSpec, config: NodeConfig) -> None:
        inputs: tuple[tuple[str, Flow], ...] = ()
        flow: Flow | None
        kind = kind_of(node)
        assert kind is not None
        if kind.inputs_apart is not None:
            inputs = self._inputs_apart(node, kind.inputs_apart)
            flow = inputs[0][1] if inputs else None
        elif isinstance(config, SourceConfig | GlobalTableConfig):
            flow = self._topic_flow(node, config)
        else:
            flow = self._flows.get(node.inputs[0]) if node.inputs else None
            flow = flow or self._input_flow(node)
        if flow is None:
            return
        self._incoming[node.name] = flow
        lowering = Lowering(node.name, flow, self._tables, inputs)
        if isinstance(config, AsyncConfig):
            lowering.identity = identity_of(kind, config)
        lowered = kind.lower(config, lowering)
        self.problems += lowering.problems
        if lowered is not None and not lowering.problems:
            self.nodes[node.name] = LoweredNode(node, config, lowered)
            if node.name in self._tables:
                self._tables[node.name] = lowered.output

    def _topic_flow(self, node: NodeSpec, config: SourceConfig | GlobalTableConfig) -> Flow | None:
        if config.schema_name not in self._schemas:
            remedy = near_name(config.schema_name, self._schemas, "schemas are")
            self.problems.append(Problem(f"nodes.{node.name}.schema", f"unknown schema {config.schema_name!r}", remedy))
            return None
        schema = self._schemas[config.schema_name]
        return None if schema is None else Flow(schema)

    def _inputs_apart(self, node: NodeSpec, bounds: tuple[int, int]) -> tuple[tuple[str, Flow], ...]:
        """Every input with its flow; none when they are too few or many, or one of them failed.

        Of a node behind its own parts the inputs that were written.
        """
        if len(node.inputs) < len(node.written_inputs):
            flow = self._input_flow(node)
            return () if flow is None else flow.carries
        least, most = bounds
        count = len(node.inputs)
        if not least <= count <= most:
            takes = f"{least}" if least == most else f"{least} to {most}"
            remedy = "name them in order, inputs: [first, second]"
            self.problems.append(
                Problem(f"nodes.{node.name}.inputs", f"{node.kind} takes {takes} inputs, not {count}", remedy)
            )
            return ()
        named = zip(node.written_inputs or node.inputs, node.inputs, strict=True)
        found = tuple((name, self.nodes[each].lowered.output) for name, each in named if each in self.nodes)
        return found if len(found) == count else ()

    def _input_flow(self, node: NodeSpec) -> Flow | None:
        """What comes out of the inputs together; None when one of them failed or they do not fit."""
        flows = [self.nodes[name].lowered.output for name in node.inputs if name in self.nodes]
        if not flows or len(flows) < len(node.inputs):
            return None
        merged = flows[0]
        for name, flow in zip(node.inputs[1:], flows[1:], strict=True):
            problem = _difference(node, name, merged, flow)
            if problem is not None:
                self.problems.append(problem)
                return None
            merged = _together(merged, flow)
        return merged


def _difference(node: NodeSpec, name: str, first: Flow, flow: Flow) -> Problem | None:
    """Why an input cannot be merged with the first one, None when it can."""
    place, inputs = f"nodes.{node.name}.inputs", f"inputs {node.inputs[0]!r} and {name!r}"
    types, others = ({field.name: field.type for field in each.schema.fields} for each in (first, flow))
    if types != others:
        differing = sorted(types.items() ^ others.items())
        shown = ", ".join(dict.fromkeys(field for field, _ in differing))
        return Problem(place, f"{inputs} have different fields: {shown}", "bring them to the same fields with a map")
    keys = [each.key and (each.key.source, each.key.type) for each in (first, flow)]
    if keys[0] != keys[1]:
        said = [f"{each.key.source!r}" if each.key else "none" for each in (first, flow)]
        message = f"{inputs} have different keys: {said[0]} and {said[1]}"
        return Problem(place, message, "put a key_by of one key before the merge on each of them")
    return None


def _together(first: Flow, second: Flow) -> Flow:
    """The flow of two merged ones: a field may be null when it may be in either."""
    nullable = {field.name for flow in (first, second) for field in flow.schema.fields if field.nullable}
    fields = tuple(Field(field.name, field.type, field.name in nullable) for field in first.schema.fields)
    key = second.key if second.key is not None and second.key.nullable else first.key
    return Flow(Schema(first.schema.name, fields), key, first.key_name, first.repeats or second.repeats)
