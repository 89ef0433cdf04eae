"""What a model file is, by its content: its name may say anything.

A pickle runs code when it is loaded, so no format may be one, nor a zip that holds one (as PyTorch's own files do).
ONNX is a protobuf without a magic number: a file is taken for one when it is a whole message of ModelProto's fields.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator

from streamflow.errors import ModelError

#: Largest model file.
MODEL_MAX_BYTES = 2 << 30
_COMPRESSED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd",
    b"ZF": "joblib's zlib", b"\x78\x01": "zlib", b"\x78\x5e": "zlib", b"\x78\x9c": "zlib", b"\x78\xda": "zlib",
}  # fmt: skip
#: Fields of ModelProto (onnx.proto): the number of the graph, and the greatest.
_GRAPH, _MODEL_FIELDS = 7, 26
_EXTERNAL = 1


def format_of(data: bytes) -> str:
    """`onnx`, `skops`, `linear`, or "" when it is none of these. Raises ModelError for what is never loaded."""
    if len(data) > MODEL_MAX_BYTES:
        raise ModelError(f"the file has {len(data)} bytes, a model may have {MODEL_MAX_BYTES}")
    if is_pickle(data):
        raise ModelError("the file is a pickle, which runs code when it is loaded; save it with skops, or as ONNX")
    for magic, name in _COMPRESSED.items():
        if data.startswith(magic):
            raise ModelError(f"the file is compressed ({name}), so that its content cannot be judged; unpack it first")
    if data.startswith(b"PK\x03\x04"):
        return _zip_format(data)
    if data.lstrip()[:1] == b"{":
        return "linear"
    return "onnx" if _is_onnx(data) else ""


def is_pickle(data: bytes) -> bool:
    """Whether data is a pickle of any protocol, or begins as one."""
    if data[:1] == b"\x80" and data[1:2] <= b"\x05":
        return True
    # Protocols 0 and 1 begin as text may; they end with a stop, or have called something before.
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "STOP":
                return bool(seen)
            seen.add(opcode.name)
            if "INST" in seen or {"GLOBAL", "REDUCE"} <= seen:
                return True
    except Exception:  # whatever pickletools raises: these are not the opcodes of a pickle
        return False
    return False


def _zip_format(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            names = opened.namelist()
            for name in names:
                with opened.open(name) as member:
                    head = member.read(64)
                if name.endswith((".pkl", ".pickle", ".joblib")) or (head[:1] == b"\x80" and is_pickle(head)):
                    raise ModelError(
                        f"the file holds a pickle ({name}), which runs code; save it as ONNX or with skops"
                    )
    except zipfile.BadZipFile as error:
        raise ModelError(f"the file begins as a zip but is none: {error}") from error
    return "skops" if "schema.json" in names else ""


def _is_onnx(data: bytes) -> bool:
    try:
        numbers = [number for number, _ in _fields(data)]
    except ValueError:
        return False
    return _GRAPH in numbers and max(numbers) <= _MODEL_FIELDS


def refuse_external_data(data: bytes) -> None:
    """ONNX may name other files that hold its weights: a digest would not cover them. Raises ModelError."""
    for number, graph in _fields(data):
        if number == _GRAPH and any(_external_tensors(graph)):
            raise ModelError(
                "the model keeps weights in other files; save it as one file (save_as_external_data=False)"
            )


def _external_tensors(graph: bytes) -> Iterator[bool]:
    """Of a GraphProto: its initializers (5), and tensors (5, 10) and graphs (6, 11) in attributes (5) of nodes (1)."""
    for number, part in _fields(graph):
        if number == 5:
            yield _is_external(part)
        elif number == 1:
            for at, attribute in _fields(part):
                for kind, value in _fields(attribute) if at == 5 else ():
                    if kind in (5, 10):
                        yield _is_external(value)
                    elif kind in (6, 11):
                        yield from _external_tensors(value)


def _is_external(tensor: bytes) -> bool:
    """Of a TensorProto: external_data (13), or data_location (14)."""
    return any(number == 13 or (number == 14 and value == b"\x01") for number, value in _fields(tensor))


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of every field of a protobuf message; a varint is one byte or more. Raises ValueError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        start = at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, start = _varint(data, at)
            at = start + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > end or number == 0:
            raise ValueError("cut off")
        yield number, data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("cut off")
