"""The declared topology: frozen data, the same whether it was written in YAML or Python."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from streamflow.model.schema import MASKED_MARK
from streamflow.nodes.kind import DurationMs

NODES_MAX = 2_500


class NodeSpec(BaseModel):
    """One declared node: its kind, the names of its inputs, and the rest of its configuration as written.

    written_inputs: the inputs as written, when repartitions were put in before some of them.
    output_of: of a node that stands for one output of another (`router.high`), that other node.
    queue_of: of a node that hands rows to an async one (`weather.queue`), that other node.
    part_of: of a node that was put in as a part of another, that other node.
    requires: what workers must have that run it.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    config: Mapping[str, Any] = Field(default_factory=dict)
    written_inputs: tuple[str, ...] = ()
    output_of: str = ""
    queue_of: str = ""
    part_of: str = ""
    requires: tuple[str, ...] = ()

    @field_serializer("config", when_used="json")
    def _shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Classes and functions of a Python topology by their names."""
        return {key: value.__qualname__ if callable(value) else value for key, value in config.items()}


class ErrorBudgetSpec(BaseModel):
    """How many of a node's rows may become dead letters before the topology is paused, on each worker."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    failures: int | None = Field(None, ge=0, description="dead letters within `per` that are allowed")
    percent: float | None = Field(None, ge=0, lt=100, description="share of the node's rows within `per`")
    at_least: int = Field(100, ge=1, description="rows within `per` before `percent` counts")
    per: DurationMs = Field(600_000, ge=1_000, le=7 * 86_400_000, description="time that is looked back")


class ParkingSpec(BaseModel):
    """That later events of a key wait when one of them has failed for good; bounds are per task."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    max_keys: int = Field(1_000, ge=1, le=10_000, description="keys beyond are not parked: their events go on")
    max_waiting: int = Field(10_000, ge=1, le=100_000, description="events beyond are dead letters, `parked_full`")
    time: Literal["event", "release"] = Field(
        "event", description="event time of what has waited: its own, or not before the watermark at its release"
    )


class TopologySpec(BaseModel):
    """A topology as declared. Whether it can run is checked by `topology.resolve`, which lists every problem."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    topology: str = Field(description="name; part of topics, consumer group and metrics")
    version: int = Field(1, ge=1, description="raise it with every change")
    guarantee: Literal["exactly_once", "at_least_once"] = Field("exactly_once", description="what a crash may do")
    description: str = Field("", description="for people")
    schemas: Mapping[str, Mapping[str, str]] = Field(
        description="types of fields per schema, as `float?`, `str secret`"
    )
    nodes: tuple[NodeSpec, ...] = Field(min_length=1, max_length=NODES_MAX)
    error_budgets: Mapping[str, ErrorBudgetSpec] = Field(
        default_factory=dict, description="by node: how many rows may fail before the topology is paused"
    )

    parking: Mapping[str, ParkingSpec] = Field(
        default_factory=dict, description="by source or key_by: keys wait behind what has failed, until it is settled"
    )

    metrics: Mapping[str, bool] = Field(
        default_factory=dict, description="by node: false leaves its series out of the metrics"
    )

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was declared, hexadecimal."""
        declared = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return sha256(declared.encode()).hexdigest()

    @property
    def secret_fields(self) -> frozenset[str]:
        """Names of fields that some schema marks as secret."""
        fields = (field for schema in self.schemas.values() for field in schema.items())
        return frozenset(name for name, text in fields if text.endswith(MASKED_MARK))

    def node(self, name: str) -> NodeSpec | None:
        """Node by name."""
        return next((node for node in self.nodes if node.name == name), None)
