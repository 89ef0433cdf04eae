"""Declares a topology in Python, with the same meaning as the YAML file.

    >>> flights = Builder("flights")
    >>> flights.schema("Departure", time="timestamp", carrier="str", dep_delay="float?")
    >>> departures = flights.source("departures", topic="flights.departures", schema="Departure", event_time="time")
    >>> flown = departures.filter("flown", where="dep_delay is not None")
    >>> out = flown.sink("out", topic="flights.flown")
    >>> topology = flights.build()

Branches hang several nodes behind one handle; `merge` brings handles together.
"""

import sys
from dataclasses import dataclass
from typing import Any

from streamflow.errors import Problem, TopologyError
from streamflow.topology.document import spec_of
from streamflow.topology.spec import TopologySpec


@dataclass(frozen=True, slots=True)
class NodeHandle:
    """A declared node, to hang others behind it. Configuration keys are those of the kind."""

    builder: "Builder"
    name: str

    def node(self, name: str, kind: str, /, **config: Any) -> "NodeHandle":
        """A node of any kind behind this one."""
        return self.builder.node(name, kind, self, **config)

    def output(self, name: str) -> "NodeHandle":
        """One output of a node that has several."""
        return NodeHandle(self.builder, f"{self.name}.{name}")

    def branch(self, name: str, *, outputs: dict[str, str], **config: Any) -> "NodeHandle":
        """Rows split by conditions; take an `output` of it."""
        return self.node(name, "branch", outputs=outputs, **config)

    def filter(self, name: str, *, where: str) -> "NodeHandle":
        """Rows for which `where` is true."""
        return self.node(name, "filter", where=where)

    def map(self, name: str, **config: Any) -> "NodeHandle":
        """Computed (`set`), kept (`keep`) or dropped (`drop`) fields."""
        return self.node(name, "map", **config)

    def key_by(self, name: str, *, key: str) -> "NodeHandle":
        """Rows under another key."""
        return self.node(name, "key_by", key=key)

    def window(self, name: str, **config: Any) -> "NodeHandle":
        """Rows aggregated per key and window."""
        return self.node(name, "window", **config)

    def lookup(self, name: str, *, table: "NodeHandle", key: str, **config: Any) -> "NodeHandle":
        """Rows with fields of a global table."""
        return self.node(name, "lookup", table=table.name, key=key, **config)

    def echo(self, name: str, **config: Any) -> "NodeHandle":
        """Rows with a running count of their key."""
        return self.node(name, "echo", **config)

    def multiply(self, name: str, *, field: str, factor: float, **config: Any) -> "NodeHandle":
        """Rows with a field multiplied."""
        return self.node(name, "multiply", field=field, factor=factor, **config)

    def threshold(self, name: str, *, field: str, limit: float, **config: Any) -> "NodeHandle":
        """Rows beyond a limit, or all rows marked."""
        return self.node(name, "threshold", field=field, limit=limit, **config)

    def pass_through(self, name: str) -> "NodeHandle":
        """The same rows, under a name."""
        return self.node(name, "pass_through")

    def process(self, name: str, call: Any, *, arguments: dict[str, Any] | None = None, **config: Any) -> "NodeHandle":
        """Rows of a node class with states and timers: the class, or its import path."""
        return self.node(name, "process", call=_call(call), **_with(arguments), **config)

    def deduplicate(self, name: str, *, within: str | int, **config: Any) -> "NodeHandle":
        """The first row of each id within a time."""
        return self.node(name, "deduplicate", within=within, **config)

    def python(self, name: str, call: Any, *, arguments: dict[str, Any] | None = None) -> "NodeHandle":
        """Rows that a function makes of each: the function, or its import path."""
        return self.node(name, "python", call=_call(call), **_with(arguments))

    def sink(self, name: str, *, topic: str, **config: Any) -> "NodeHandle":
        """Rows written to a topic."""
        return self.node(name, "sink", topic=topic, **config)


def _with(arguments: dict[str, Any] | None) -> dict[str, Any]:
    return {"with": arguments} if arguments else {}


def _call(call: Any) -> Any:
    """The import path of a class or function that has one, so that the topology is plain data; else itself."""
    module, name = getattr(call, "__module__", ""), getattr(call, "__qualname__", "")
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is call else call


class Builder:
    """Gathers schemas and nodes; `build` gives the spec."""

    def __init__(
        self, topology: str, *, version: int = 1, guarantee: str = "exactly_once", description: str = ""
    ) -> None:
        self._document: dict[str, Any] = {"topology": topology, "version": version, "guarantee": guarantee}
        self._document |= {"description": description, "schemas": {}, "nodes": {}}
        self._document |= {"error_budgets": {}, "parking": {}, "metrics": {}}
        self._twice: list[Problem] = []

    def schema(self, name: str, /, **fields: str) -> None:
        """A schema; field types as in YAML."""
        self._declare("schemas", name, fields)

    def error_budget(self, node: NodeHandle, **config: Any) -> None:
        """How many rows of a node may fail before the topology is paused; as in YAML."""
        self._declare("error_budgets", node.name, config)

    def parking(self, node: NodeHandle, **config: Any) -> None:
        """That keys wait at a source or key_by behind what has failed; as in YAML."""
        self._declare("parking", node.name, config)

    def metrics(self, node: NodeHandle, shown: bool) -> None:
        """Whether a node has series in the metrics."""
        self._declare("metrics", node.name, shown)

    def source(self, name: str, *, topic: str, schema: str, **config: Any) -> NodeHandle:
        """A source."""
        return self.node(name, "source", topic=topic, schema=schema, **config)

    def global_table(self, name: str, *, topic: str, schema: str, key: str, **config: Any) -> NodeHandle:
        """A table that every worker holds whole, for lookups."""
        return self.node(name, "global_table", topic=topic, schema=schema, key=key, **config)

    def merge(self, name: str, *inputs: NodeHandle) -> NodeHandle:
        """The rows of several nodes of one schema and key."""
        return self.node(name, "pass_through", *inputs)

    def node(self, name: str, kind: str, /, *inputs: NodeHandle, **config: Any) -> NodeHandle:
        """A node of any kind, with any number of inputs."""
        body: dict[str, Any] = {"kind": kind, **config}
        if inputs:
            body["inputs"] = [handle.name for handle in inputs]
        self._declare("nodes", name, body)
        return NodeHandle(self, name)

    def build(self) -> TopologySpec:
        """The spec. Raises TopologyError with every problem."""
        try:
            spec = spec_of(self._document)
        except TopologyError as error:
            raise TopologyError((*self._twice, *error.problems)) from error
        if self._twice:
            raise TopologyError(tuple(self._twice))
        return spec

    def _declare(self, section: str, name: str, body: dict[str, Any] | bool) -> None:
        if name in self._document[section]:
            self._twice.append(Problem(f"{section}.{name}", "the name is declared twice", "rename one"))
        self._document[section][name] = body
