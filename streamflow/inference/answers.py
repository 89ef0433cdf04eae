"""What a model gives for a row, by its task: fields of the row, and how they are made of the model's columns."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from streamflow.errors import ModelError
from streamflow.inference.adapter import Column
from streamflow.inference.card import Task
from streamflow.model.late_import import LateImport
from streamflow.model.schema import Field, FieldType

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")

#: Values of a row's fields, in the order of `fields_of`.
Answer = tuple[Any, ...]

_FIELDS: dict[Task, tuple[tuple[str, FieldType], ...]] = {
    Task.REGRESSION: (("prediction", FieldType.FLOAT),),
    Task.CLASSIFICATION: (("label", FieldType.STR), ("confidence", FieldType.FLOAT)),
    Task.CLUSTERING: (("cluster", FieldType.INT),),
    Task.EMBEDDING: (("embedding", FieldType.JSON),),
    Task.ANOMALY: (("anomaly", FieldType.BOOL), ("score", FieldType.FLOAT)),
}


def fields_of(task: Task, top_k: int, prefix: str) -> tuple[Field, ...]:
    """Fields that a model of the task adds; with `top_k` also the likeliest classes, `[{label, confidence}, …]`."""
    fields = [*_FIELDS[task], *([("top", FieldType.JSON)] if top_k else [])]
    return tuple(Field(prefix + name, kind) for name, kind in [*fields, ("model_version", FieldType.STR)])


def answers_of(
    task: Task, labels: Sequence[str], top_k: int, version: str
) -> Callable[[Sequence[Column]], list[Answer]]:
    """A function from a model's columns to one answer per row. It raises ModelError for columns of another task."""
    makers: dict[Task, Callable[[Sequence[Column]], list[Answer]]] = {
        Task.REGRESSION: lambda columns: _each(columns, 1, float),
        Task.CLASSIFICATION: lambda columns: _classes(columns, labels, top_k),
        Task.CLUSTERING: lambda columns: _each(columns, 1, int),
        Task.EMBEDDING: lambda columns: [(row,) for row in np.asarray(columns[0], np.float64).tolist()],
        Task.ANOMALY: lambda columns: [
            (kind < 0, float(score)) for (kind,), (score,) in zip(_each(columns, 2, int), _scores(columns), strict=True)
        ],
    }
    make = makers[task]

    def answers(columns: Sequence[Column]) -> list[Answer]:
        return [(*answer, version) for answer in make(columns)]

    return answers


def _each(columns: Sequence[Column], count: int, kind: type) -> list[Answer]:
    """One plain value per row of the first column."""
    if len(columns) < count:
        raise ModelError(f"the model gives {len(columns)} columns, its task needs {count}")
    column = columns[0].reshape(len(columns[0]), -1)
    if column.shape[1] != 1:
        raise ModelError(f"the model gives {column.shape[1]} values per row, its task needs one")
    return [(kind(value),) for value in column[:, 0].tolist()]


def _scores(columns: Sequence[Column]) -> list[Answer]:
    return _each(columns[1:], 1, float)


def _classes(columns: Sequence[Column], labels: Sequence[str], top_k: int) -> list[Answer]:
    """The label that the model gives, else the likeliest class; its confidence is its probability."""
    chances = columns[-1].reshape(len(columns[-1]), -1)
    if not np.issubdtype(chances.dtype, np.floating):
        raise ModelError("the model gives no probabilities, a classification needs them")
    if not labels:
        labels = [str(number) for number in range(chances.shape[1])]
    if len(labels) != chances.shape[1]:
        raise ModelError(f"the model has {chances.shape[1]} classes, its card {len(labels)} labels; add it again")
    order = np.argsort(-chances, axis=1, kind="stable")
    if len(columns) == 1:
        first = [labels[place] for place in order[:, 0]]
        confidences = np.take_along_axis(chances, order[:, :1], axis=1)[:, 0].tolist()
    else:
        first = [str(label) for label in columns[0].reshape(-1).tolist()]
        places = {label: place for place, label in enumerate(labels)}
        confidences = [float(row[places[label]]) for label, row in zip(first, chances, strict=True)]
    if not top_k:
        return list(zip(first, confidences, strict=True))
    best = np.take_along_axis(chances, order, axis=1)[:, :top_k].tolist()
    tops = [
        [{"label": labels[place], "confidence": value} for place, value in zip(row[:top_k], values, strict=True)]
        for row, values in zip(order.tolist(), best, strict=True)
    ]
    return list(zip(first, confidences, tops, strict=True))
