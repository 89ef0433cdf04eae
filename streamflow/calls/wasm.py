"""Functions of WebAssembly modules: code of others that can compute, and nothing else.

    file ──► compiled once per process ──► linked: imports, if any, trap ──► called: a fresh instance each time

An instance lives for one call. So a function cannot remember a row, nothing of one row is seen by another, and its
result follows from its arguments alone: clock, files, network and random numbers are imports, which it does not have.
Its bound is fuel, instructions, and not time: whether a row fails must not depend on how busy a machine is.
"""

import atexit
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from streamflow.errors import CallFailed, ErrorClass
from streamflow.kit.declaration import NotDeclared
from streamflow.model.late_import import LateImport

if TYPE_CHECKING:
    import wasmtime
else:
    wasmtime = LateImport("wasmtime")

#: Of a module's file.
MODULE_MAX_BYTES = 16 << 20
PAGE_BYTES = 64 << 10
_TABLE_MAX_ELEMENTS = 100_000
_MAGIC = b"\0asm"
_OPEN: "WeakSet[Linked]" = WeakSet()


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one call: pages of 64 KiB of linear memory, and instructions."""

    memory_pages: int
    fuel: int


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of a function's parameters and results: i32, i64, f32, f64, or others."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) → ({', '.join(self.results)})"


def find_module(path: str) -> bytes:
    """The file of a module, found as Python finds modules: beside the topology, or in an installed package.

    Raises NotDeclared.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise NotDeclared(f"{path!r} leads elsewhere", "name a file beside the topology, or one of a package")
    for folder in sys.path:
        found = Path(folder or ".") / parts
        if found.is_file():
            if found.stat().st_size > MODULE_MAX_BYTES:
                raise NotDeclared(f"{path} is larger than {MODULE_MAX_BYTES >> 20} MiB", "build it without debug data")
            return found.read_bytes()
    raise NotDeclared(f"there is no module {path!r}", "put the file beside the topology, or install its package")


class Linked:
    """A module with what it may import. Threads may share it."""

    def __init__(self, data: bytes, imports: Iterable[str], limits: Limits) -> None:
        """Raises NotDeclared for what is no module, imports what was not declared, or does not start."""
        self.digest, self._limits = sha256(data).hexdigest(), limits
        self._module = _compiled(data)
        self.functions: dict[str, Signature] = {}
        self._memories: set[str] = set()
        for each in self._module.exports:
            if isinstance(each.type, wasmtime.FuncType):
                self.functions[each.name] = _signature(each.type)
            elif isinstance(each.type, wasmtime.MemoryType):
                self._memories.add(each.name)
        self._refuse_imports(frozenset(imports))
        linker = wasmtime.Linker(_engine())
        linker.define_unknown_imports_as_traps(self._module)
        self._made = linker.instantiate_pre(self._module)
        try:
            self._instance("the module")
        except CallFailed as error:
            raise NotDeclared(f"an instance cannot be made: {error}", "raise memory_pages or fuel") from error
        _OPEN.add(self)

    def close(self) -> None:
        """Let go of what is not Python's."""
        self._made.close()
        self._module.close()

    @property
    def has_memory(self) -> bool:
        """Whether its memory can be reached."""
        return "memory" in self._memories

    def _refuse_imports(self, declared: frozenset[str]) -> None:
        found = {f"{each.module}.{each.name}": each.type for each in self._module.imports}
        undeclared = sorted(found.keys() - declared)
        if undeclared:
            remedy = "build it for wasm32-unknown-unknown; imports that are never called may be named in `imports`"
            raise NotDeclared(f"the module imports {', '.join(undeclared)}, and gets nothing", remedy)
        others = sorted(name for name, kind in found.items() if not isinstance(kind, wasmtime.FuncType))
        if others:
            raise NotDeclared(f"the module imports {', '.join(others)}, no function", "build it with its own memory")

    def _instance(self, name: str) -> tuple["wasmtime.Store", Mapping[str, Any]]:
        """A store and the exports of an instance in it. Raises CallFailed."""
        limits = self._limits
        store = wasmtime.Store(_engine())
        store.set_limits(limits.memory_pages * PAGE_BYTES, _TABLE_MAX_ELEMENTS, 1, 4, 1)
        store.set_fuel(limits.fuel)
        with _told(name):
            exports: Mapping[str, Any] = self._made.instantiate(store).exports(store)
            if "_initialize" in self.functions:  # of what a language does before its first function
                exports["_initialize"](store)
        return store, exports

    def call(self, name: str, arguments: Iterable[int | float]) -> Any:
        """What a function of numbers gives. Raises CallFailed: `wasm_trap`, `wasm_fuel`."""
        store, exports = self._instance(name)
        with _told(name):
            return exports[name](store, *arguments)

    def transform(self, name: str, data: bytes) -> bytes:
        """Bytes for bytes. Raises CallFailed: `wasm_trap`, `wasm_fuel`, `wasm_result`.

        alloc(size) → address for the bytes; name(address, size) → address << 32 | size of the result.
        """
        store, exports = self._instance(name)
        memory = exports["memory"]
        with _told(name):
            at = exports["alloc"](store, len(data)) & 0xFFFFFFFF
            self._check_range(name, memory.data_len(store), at, len(data), "alloc gave")
            memory.write(store, data, at)
            found = exports[name](store, _signed(at), len(data)) & 0xFFFFFFFFFFFFFFFF
        start, length = found >> 32, found & 0xFFFFFFFF
        self._check_range(name, memory.data_len(store), start, length, "its result is")
        return bytes(memory.read(store, start, start + length))

    @staticmethod
    def _check_range(name: str, size: int, start: int, length: int, what: str) -> None:
        if start + length > size:
            message = f"{name}: {what} {length} bytes at {start}, its memory has {size}"
            raise CallFailed("wasm_result", message, ErrorClass.PERMANENT)


def _signed(value: int) -> int:
    """An address as the i32 that wasmtime takes."""
    return value - (1 << 32) if value >= 1 << 31 else value


@lru_cache(maxsize=1)
def _engine() -> "wasmtime.Engine":
    """Of the process. What gives other results on other machines is off, and what has memory of its own."""
    try:
        config = wasmtime.Config()
    except ImportError as error:
        raise NotDeclared("wasmtime is not installed", "pip install 'streamflow[wasm]'") from error
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd_deterministic = True
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_gc = False
    config.wasm_exceptions = False
    atexit.register(_close_all)
    return wasmtime.Engine(config)


def _close_all() -> None:
    """At the end of the process: later wasmtime would find its own functions gone, and say so."""
    for each in list(_OPEN):
        each.close()
    _compiled.cache_clear()
    _engine().close()


@lru_cache(maxsize=16)
def _compiled(data: bytes) -> "wasmtime.Module":
    engine = _engine()
    try:
        return wasmtime.Module(engine, data if data.startswith(_MAGIC) else data.decode())
    except (wasmtime.WasmtimeError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise NotDeclared(f"this is no WebAssembly module: {said}", "give a .wasm file, or its text, .wat") from error


def _signature(kind: "wasmtime.FuncType") -> Signature:
    return Signature(tuple(map(str, kind.params)), tuple(map(str, kind.results)))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Raises CallFailed for what stopped a function."""
    try:
        yield
    except wasmtime.Trap as error:
        code = error.trap_code
        reason = "wasm_fuel" if code is wasmtime.TrapCode.OUT_OF_FUEL else "wasm_trap"
        raise CallFailed(reason, f"{name}: {_last_line(error)}", ErrorClass.PERMANENT) from error
    except wasmtime.WasmtimeError as error:
        raise CallFailed("wasm_trap", f"{name}: {_last_line(error)}", ErrorClass.PERMANENT) from error


def _last_line(error: Exception) -> str:
    """The cause stands behind the trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def in_threads(function: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    """The function to be awaited, in `count` threads of its own, which start when they are first needed.

    Wasmtime lets other threads of Python go on while it works.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(count, "wasm")

    async def call(row: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, function, row)

    return call
