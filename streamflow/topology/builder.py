"""Declares a topology in Python, with the same meaning as the YAML file.

flights = Builder("flights")
flights.schema("Departure", time="timestamp", carrier="str", dep_delay="float?")
departures = flights.source("departures", topic="flights.departures", schema="Departure", event_time="time")
flown = departures.filter("flown", where="dep_delay is not None")
…
topology = flights.build()
"""

from dataclasses import dataclass
from typing import Any

from streamflow.topology.document import spec_of
from streamflow.topology.spec import TopologySpec


@dataclass(frozen=True, slots=True)
class NodeHandle:
    """A declared node, to hang others behind it."""

    builder: "Builder"
    name: str

    def node(self, name: str, kind: str, **config: Any) -> "NodeHandle":
        """A node of any kind behind this one."""
        return self.builder.node(name, kind, self, **config)

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

    def sink(self, name: str, *, topic: str, **config: Any) -> "NodeHandle":
        """Rows written to a topic."""
        return self.node(name, "sink", topic=topic, **config)


class Builder:
    """Gathers schemas and nodes; `build` gives the spec."""

    def __init__(
        self, topology: str, *, version: int = 1, guarantee: str = "exactly_once", description: str = ""
    ) -> None:
        self._document: dict[str, Any] = {"topology": topology, "version": version, "guarantee": guarantee}
        self._document |= {"description": description, "schemas": {}, "nodes": {}}

    def schema(self, name: str, /, **fields: str) -> None:
        """A schema; field types as in YAML."""
        self._document["schemas"][name] = fields

    def source(self, name: str, *, topic: str, schema: str, **config: Any) -> NodeHandle:
        """A source."""
        return self.node(name, "source", topic=topic, schema=schema, **config)

    def node(self, name: str, kind: str, *inputs: NodeHandle, **config: Any) -> NodeHandle:
        """A node of any kind, with any number of inputs."""
        body: dict[str, Any] = {"kind": kind, **config}
        if inputs:
            body["inputs"] = [handle.name for handle in inputs]
        self._document["nodes"][name] = body
        return NodeHandle(self, name)

    def build(self) -> TopologySpec:
        """The spec. Raises TopologyError for a wrong shape."""
        return spec_of(self._document)
