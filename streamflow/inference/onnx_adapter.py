"""ONNX models, run by onnxruntime in one thread: workers use their cores by running several tasks.

A model takes either one tensor of all numbers side by side, or one tensor per input of its card, in order.
"""

from collections.abc import Sequence

import numpy as np

from streamflow.errors import ModelError
from streamflow.inference.adapter import Column, matrix, missing_package
from streamflow.inference.card import InputType, ModelCard
from streamflow.inference.content import refuse_external_data

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


_CPU = "CPUExecutionProvider"
_REMEDY = "install the onnxruntime of that hardware (onnxruntime-gpu for CUDA) and its driver, or name another provider"


def refuse_providers(names: Sequence[str]) -> None:
    """Raises ModelError for execution providers that the installed onnxruntime does not have."""
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_package("onnxruntime") from error
    there = onnxruntime.get_available_providers()
    lacking = [name for name in names if name not in there]
    if lacking or not names:
        raise ModelError(f"onnxruntime has no {', '.join(lacking)} here, it has {', '.join(there)}: {_REMEDY}")


def providers_there() -> list[str]:
    """Execution providers of the installed onnxruntime; none when there is none."""
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


class OnnxModel:
    """A session and how columns become its tensors."""

    def __init__(self, data: bytes, card: ModelCard) -> None:
        refuse_external_data(data)
        providers = list(card.options.get("providers", [_CPU]))
        refuse_providers(providers)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(card.options.get("threads", 1))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # onnxruntime has many classes for a model that is not as it should be
            raise ModelError(f"model {card.id} cannot be loaded by onnxruntime: {error}") from error
        if self._session.get_providers()[0] != providers[0]:  # it goes on without, and says so in its log
            raise ModelError(f"{providers[0]} does not start here for model {card.id}: {_REMEDY}")
        self.labels = card.labels
        self._inputs = [(each.name, _type_of(each, card), len(each.shape)) for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]
        for each in self._session.get_outputs():
            if not each.type.startswith("tensor("):
                remedy = "export it without ZipMap: options={'zipmap': False} of skl2onnx, zipmap=False of onnxmltools"
                raise ModelError(f"output {each.name!r} of model {card.id} is {each.type}, no tensor: {remedy}")
        if len(self._inputs) not in (1, len(card.inputs)):
            names = ", ".join(name for name, _, _ in self._inputs)
            raise ModelError(f"model {card.id} has inputs {names}, its card {len(card.inputs)}; add it again")
        texts = any(each.type is InputType.TEXT for each in card.inputs)
        if len(self._inputs) == 1 < len(card.inputs) and texts:
            raise ModelError(f"model {card.id} takes one tensor, so its inputs are all numbers; add it again")

    def predict(self, columns: Sequence[Column]) -> Sequence[Column]:
        """See adapter.py."""
        if len(self._inputs) == 1 < len(columns):
            name, kind, _ = self._inputs[0]
            return list(self._session.run(self._outputs, {name: matrix(columns, kind)}))
        given = {}
        for (name, kind, rank), column in zip(self._inputs, columns, strict=True):
            shaped = column.reshape(len(column), -1) if rank == 2 else column
            given[name] = shaped.astype(kind, copy=False)
        return list(self._session.run(self._outputs, given))


def _type_of(tensor: object, card: ModelCard) -> type[np.generic]:
    kind = getattr(tensor, "type", "")
    if kind not in _TYPES:
        raise ModelError(f"model {card.id} has an input of type {kind}; export it with one of {', '.join(_TYPES)}")
    return _TYPES[kind]


def load(data: bytes, card: ModelCard) -> OnnxModel:
    """A model of an ONNX file. Raises ModelError."""
    return OnnxModel(data, card)
