"""The card of a model: what its registry says about one version of it.

The registry is a compacted topic, one record per version under `name@version`. Versions never change: another file is
another version. The newest is the greatest, number by number (1.10 is newer than 1.9), whenever it was added.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from streamflow.errors import ModelError
from streamflow.model.late_import import LateImport
from streamflow.model.schema import Field, FieldType, Schema

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")

#: Topic of the registry unless a node names another one.
REGISTRY_TOPIC = "streamflow.models"
#: Bounds of a registry: rows, and bytes of cards as JSON.
REGISTRY_MAX_ROWS = 10_000
REGISTRY_MAX_BYTES = 64 << 20
MODEL_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}")
#: Bins that drift is measured in: tenths of the training data.
BINS = 10


class Task(StrEnum):
    """What a model gives for a row."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    EMBEDDING = "embedding"
    ANOMALY = "anomaly"


class InputType(StrEnum):
    """Type of a model's input: a number, a text, or a list of numbers of one length."""

    NUMBER = "number"
    TEXT = "text"
    LIST = "list"


class ModelInput(msgspec.Struct, frozen=True):
    """One input. edges: borders of bins of the training data, `shares` of it per bin (one more); both may be empty."""

    name: str
    type: InputType
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


class ModelCard(msgspec.Struct, frozen=True):
    """One version of a model.

    format: `onnx`, `skops`, `linear`, or an adapter's name. digest: SHA-256 of the file, hexadecimal. labels: names of
    classes where the model gives only their probabilities. options: what its adapter takes. added: Unix time, ms.
    """

    name: str
    version: str
    format: str
    task: Task
    digest: str
    size_bytes: int
    inputs: tuple[ModelInput, ...]
    uri: str = ""
    labels: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    added: int = 0

    @property
    def id(self) -> str:
        """Key of its record."""
        return f"{self.name}@{self.version}"

    def record(self) -> tuple[bytes, bytes]:
        """(key, value) of its record in the registry."""
        return self.id.encode(), msgspec.json.encode({"id": self.id, **msgspec.to_builtins(self)})


#: Rows of the registry as a global table; what lies deeper is checked when a card is read.
REGISTRY_SCHEMA = Schema(
    "ModelCard",
    (
        Field("id", FieldType.STR),
        Field("name", FieldType.STR),
        Field("version", FieldType.STR),
        Field("format", FieldType.STR),
        Field("task", FieldType.STR),
        Field("digest", FieldType.STR),
        Field("size_bytes", FieldType.INT),
        Field("inputs", FieldType.JSON),
        Field("uri", FieldType.STR),
        Field("labels", FieldType.JSON),
        Field("options", FieldType.JSON),
        Field("added", FieldType.INT),
    ),
)


def card_of(row: Any) -> ModelCard:
    """The card of a row of the registry. Raises ModelError for one that is not well formed."""
    fields = {name: getattr(row, name) for name in REGISTRY_SCHEMA.names if name != "id"}
    try:
        card = msgspec.convert(fields, ModelCard)
    except msgspec.ValidationError as error:
        raise ModelError(f"the card of model {row.id} is not well formed: {error}; add the model again") from error
    if not VERSION.fullmatch(card.version) or row.id != card.id:
        raise ModelError(f"the card of model {row.id} has version {card.version!r} of {card.name!r}; add it again")
    return card


def version_order(version: str) -> tuple[int, ...]:
    """What versions are ordered by."""
    return tuple(int(part) for part in version.split("."))


def newest(versions: Iterable[str]) -> str | None:
    """The greatest version, None when there is none."""
    return max(versions, key=version_order, default=None)


def measured(name: str, values: Sequence[Any]) -> ModelInput:
    """An input with its type and the distribution of its training data (numbers only), nulls left out."""
    there = [value for value in values if value is not None]
    if there and isinstance(there[0], str):
        return ModelInput(name, InputType.TEXT)
    if there and isinstance(there[0], list | tuple):
        return ModelInput(name, InputType.LIST)
    numbers = np.asarray(there, dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.arange(1, BINS) / BINS))
    counts = np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1)
    shares = tuple(round(float(share), 6) for share in counts / len(numbers))
    return ModelInput(name, InputType.NUMBER, tuple(float(edge) for edge in edges), shares)
