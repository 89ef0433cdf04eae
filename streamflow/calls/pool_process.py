"""A process that calls a person's function for its worker: `python -m streamflow.calls.pool_process module:name BYTES`.

BYTES: private memory (RLIMIT_DATA) that the process may have, 0: as much as there is. A row that needs more fails.

    in    arguments, then a row, then a row …          frames: 4 bytes of length, msgpack
    out   for every row [rows, "", ""], or [[], error class, message]

It ends when its input does, so it never outlives the worker. What the function prints goes to the worker's log.
"""

import os
import resource
import struct
import sys
from functools import partial
from typing import Any, BinaryIO

import msgspec

from streamflow.calls.faults import failure_of
from streamflow.errors import CallFailed, ErrorClass
from streamflow.kit.declaration import declaration_of_function, find
from streamflow.kit.run import Results

LENGTH = struct.Struct("!I")


def _read(frames: BinaryIO) -> bytes | None:
    head = frames.read(LENGTH.size)
    return frames.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else None


def _failure_of(error: Exception, memory_bytes: int) -> CallFailed:
    if memory_bytes and isinstance(error, MemoryError):  # the worker lacks nothing
        return CallFailed("process", f"it needs more memory than {memory_bytes} bytes", ErrorClass.PERMANENT)
    return failure_of(error)


def main() -> None:
    """Answer until the input ends."""
    frames, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    declared = declaration_of_function(find(sys.argv[1]))
    assert declared.input_type is not None
    function: Any = partial(declared.target, **msgspec.msgpack.decode(_read(frames) or b"\x80"))
    memory_bytes = int(sys.argv[2])
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    decode = msgspec.msgpack.Decoder(declared.input_type).decode
    encode, results = msgspec.msgpack.Encoder().encode, Results(declared.output_type)
    while (data := _read(frames)) is not None:
        try:
            answer = encode([results.rows(function(decode(data))), "", ""])
        except Exception as error:
            failed = _failure_of(error, memory_bytes)
            answer = encode([[], failed.error_class.value, str(failed)])
        out.write(LENGTH.pack(len(answer)) + answer)
        out.flush()


if __name__ == "__main__":
    main()
