"""A person's plain function, called in processes beside the worker: what takes the CPU holds up nobody there.

Rows and results travel as msgpack by the hints of the function. A process that does not answer in time is killed, and
a new one takes its place; so is one that dies.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamflow.calls.caller import Caller, Origin, Outside
from streamflow.calls.pool_process import LENGTH
from streamflow.errors import CallFailed, ErrorClass
from streamflow.kit.declaration import Declaration
from streamflow.kit.rows import schema_of


@dataclass(frozen=True)
class ProcessesAction:
    """Calls the function at `path` in `count` processes. `arguments`: what it gets besides, by name.

    memory_bytes: that each may have, 0: as much as there is.
    """

    declared: Declaration
    path: str
    arguments: tuple[tuple[str, Any], ...]
    count: int
    memory_bytes: int = 0

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return ProcessesCaller(self, node)


class ProcessesCaller:
    """Owns the processes. See `caller.Caller`."""

    def __init__(self, action: ProcessesAction, node: str) -> None:
        assert action.declared.input_type is not None
        assert action.declared.output_type is not None
        self._row_type: type[Any] = action.declared.output_type
        self.result_type = list[action.declared.output_type]  # type: ignore[name-defined]
        self._action, self._node = action, node
        self._input: type[Any] = action.declared.input_type
        self._names = schema_of(action.declared.input_type).names
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(tuple[self.result_type, str, str]).decode  # type: ignore[name-defined]
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()
        self._slots: list[_Slot] = []
        self._peak_bytes = 0

    async def open(self) -> None:
        """Start the processes, which takes them a second or so; nobody waits for it before there is a row."""
        arguments = self._encode(dict(self._action.arguments))
        action = self._action
        self._slots = [_Slot(action.path, arguments, action.memory_bytes) for _ in range(action.count)]
        for slot in self._slots:
            await slot.start()
            self._free.put_nowait(slot)

    async def close(self) -> None:
        """End every process."""
        await asyncio.gather(*(slot.end() for slot in self._slots))

    async def call(self, row: Any, origin: Origin) -> list[Any]:
        """The function's rows. Raises CallFailed with what it raised there."""
        slot = await self._free.get()
        try:
            answer: tuple[list[Any], str, str] = self._decode(await slot.ask(self.digest(row)))
        except BaseException:
            await slot.end()
            raise
        finally:
            self._free.put_nowait(slot)
        rows, error_class, said = answer
        if error_class:
            raise CallFailed("process", said, ErrorClass(error_class))
        return rows

    def peak_bytes(self) -> int | None:
        """Most memory that one of the processes has had, of those that have ended as of the last look. Linux tells."""
        self._peak_bytes = max([self._peak_bytes, *(slot.peak_bytes() for slot in self._slots)])
        return self._peak_bytes or None

    def rows(self, row: Any, result: list[Any]) -> Sequence[Any]:
        """The result."""
        return result

    def target(self, row: Any) -> str:
        """The node."""
        return self._node

    def digest(self, row: Any) -> bytes:
        """The fields that the function's row class names."""
        return self._encode(self._input(**{name: getattr(row, name) for name in self._names}))

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """A row of these values."""
        return self._row_type(**values)


class _Slot:
    """Room for one process."""

    def __init__(self, path: str, arguments: bytes, memory_bytes: int) -> None:
        self._path, self._arguments, self._memory_bytes = path, arguments, memory_bytes
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, data: bytes) -> bytes:
        """An answer. Raises CallFailed when the process dies of it."""
        process = self._process or await self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(LENGTH.pack(len(data)) + data)
            await process.stdin.drain()
            head = await process.stdout.readexactly(LENGTH.size)
            return await process.stdout.readexactly(*LENGTH.unpack(head))
        except (asyncio.IncompleteReadError, OSError) as error:
            code = await process.wait()
            raise CallFailed("process", f"its process ended with {code}", ErrorClass.TRANSIENT) from error

    async def start(self) -> asyncio.subprocess.Process:
        """A new process."""
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streamflow.calls.pool_process",
            self._path,
            str(self._memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdin is not None
        process.stdin.write(LENGTH.pack(len(self._arguments)) + self._arguments)
        return process

    def peak_bytes(self) -> int:
        """Of the process at hand, 0 where that is not known."""
        if self._process is None:
            return 0
        try:
            text = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:  # it has ended, or this is no Linux
            return 0
        return sum(int(line.split()[1]) * 1_024 for line in text.splitlines() if line.startswith("VmHWM:"))

    async def end(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()
