"""Ports: the inputs of a node that takes them apart, numbered in the order of its inputs."""

from dataclasses import dataclass

from streamflow.model.schema import Schema


@dataclass(frozen=True, slots=True)
class Pick:
    """Where a field of a joined row comes from: `field` of the row at `port`, or the key (port None)."""

    port: int | None
    field: str


def layout_of_ports(ports: tuple[Schema, ...]) -> str:
    """Fields of kept rows, in order, as text."""
    return " | ".join(", ".join(map(str, schema.fields)) for schema in ports)
