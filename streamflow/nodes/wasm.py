"""wasm: a function of a WebAssembly module over one row, for code that is not trusted."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from pydantic import Field as Option

from streamflow.calls.coroutine import CoroutineAction
from streamflow.calls.wasm import PAGE_BYTES, Limits, Linked, find_module, in_threads
from streamflow.errors import CallFailed, ErrorClass, EventError
from streamflow.kit.declaration import Declaration, NotDeclared
from streamflow.kit.rows import Row
from streamflow.model.expression import Expression
from streamflow.model.names import near_name
from streamflow.model.schema import Field, FieldType, Schema, parse_fields
from streamflow.nodes.kind import Category, FieldName, Flow, Lowered, Lowering, Mode, NodeKind
from streamflow.nodes.operators import Apply, Await, Operator
from streamflow.nodes.resilience import AsyncConfig, is_ordered, mark_of, needs_waiting, policy_of
from streamflow.nodes.running import row_class

#: A worker does nothing else meanwhile: 0.1 s or so.
HELD_MAX_FUEL = 100_000_000
_TRANSFORM = (("i32", "i32"), ("i64",))
_WHOLE = (FieldType.INT, FieldType.BOOL, FieldType.TIMESTAMP)
_TAKES = {"i32": _WHOLE, "i64": _WHOLE, "f32": (*_WHOLE, FieldType.FLOAT), "f64": (*_WHOLE, FieldType.FLOAT)}
_GIVES = {"i32": FieldType.INT, "i64": FieldType.INT, "f32": FieldType.FLOAT, "f64": FieldType.FLOAT}

#: A function over one row.
OverRow = Callable[[Any], Any]


class WasmConfig(AsyncConfig):
    """Configuration of a wasm node. `concurrency`, `order` and most of `resilience` are for calls in `threads`; without
    them there are `retry` (`attempts` and `on`, without pauses) and `fallback`.
    """

    module: str = Option(description="file of the module (.wasm, or text, .wat): beside the topology, or in a package")
    function: str = Option(description="name of the exported function")
    sha256: str | None = Option(None, pattern="^[0-9a-f]{64}$", description="digest that the file must have")
    arguments: list[str] | None = Option(
        None, max_length=100, description="expressions that give its numbers; without, it gets the row as JSON"
    )
    field: FieldName | None = Option(
        None, description="field for the number that it gives for `arguments`; without, rows stay for which it is not 0"
    )
    output: dict[FieldName, str] | None = Option(
        None, min_length=1, description="fields of the rows that it gives as JSON; those of the input when left out"
    )
    imports: list[str] = Option([], description="imports that the module may have, as env.abort; calling one is a trap")
    memory_pages: int = Option(256, ge=1, le=16_384, description="pages of 64 KiB that its memory may have")
    fuel: int = Option(10_000_000, ge=1, le=10**11, description="instructions of one call; a million take about 1 ms")
    threads: int | None = Option(None, ge=1, le=64, description="threads of each worker that call it, if it takes long")


class Wasm(NodeKind):
    """Calls an exported function for every row, each time in a fresh instance without access to anything.

    With `arguments` the function takes numbers and gives one: a test of the row, or a new `field`. Without, it takes
    the row as a JSON object and gives one, or a list of them: `(at: i32, size: i32) → i64`, with the result's address
    in the upper half and its size, 0 for no row, in the lower one. Then the module exports its `memory`, and
    `alloc: (size: i32) → i32`, which gives room for the row.

    A row whose call traps (`wasm_trap`), uses up its fuel (`wasm_fuel`) or gives what is no row (`wasm_result`) becomes
    a dead letter.
    """

    kind = "wasm"
    display_name = "WebAssembly"
    description = "Calls a function of a WebAssembly module for every row, within bounds of memory and instructions."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "wasm", "sandbox")
    modes = (Mode.SYNC, Mode.ASYNC)
    config_type = WasmConfig
    parts_off = True
    example = {"module": "streamflow/kit/sample.wat", "function": "above", "arguments": ["value", "20.0"]}

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """Whether it is called in threads."""
        return config.get("threads") is not None

    def lower(self, config: WasmConfig, lowering: Lowering) -> Lowered | None:
        """Load the module and compare its function with what it is called with."""
        before = lowering.input
        linked = _linked(config, lowering)
        _check_way(config, lowering)
        schema = _schema(config, linked, lowering)
        arguments = _arguments(config, linked, lowering) if linked is not None else None
        if lowering.failed or linked is None or schema is None:
            return None
        taken, given = row_class(replace(before.schema, name=f"{schema.name}Input")), row_class(schema)
        if arguments is None:
            over_row = _by_json(linked, config.function, taken, given)
        else:
            over_row = _by_numbers(linked, config, arguments, given)
        policy = policy_of(config.resilience, schema, lowering, linked.digest)
        ordered = is_ordered(config, lowering)
        target = over_row if config.threads is None else in_threads(over_row, config.threads)
        vars(target)["memory_bytes"] = config.memory_pages * PAGE_BYTES * (config.threads or 1)  # for deploy/needs.py
        declared = Declaration(target, taken, given)
        operator: Operator = Apply(declared, (), policy if config.resilience is not None else None)
        if config.threads is not None:
            # What has no thread yet waits without its time running.
            operator = Await(
                CoroutineAction(declared, ()),
                replace(policy, bulkhead=min(config.threads, policy.bulkhead or config.threads)),
                config.concurrency,
                ordered=ordered,
            )
        flow = Flow(schema, before.key, before.key_name, before.repeats)
        return None if lowering.failed else Lowered(operator, flow)


def _linked(config: WasmConfig, lowering: Lowering) -> Linked | None:
    """The module, if it has the function; None when problems were reported."""
    key = "module"
    try:
        linked = Linked(find_module(config.module), config.imports, Limits(config.memory_pages, config.fuel))
    except NotDeclared as error:
        lowering.problem(str(error), error.remedy, key)
        return None
    if config.sha256 is not None and config.sha256 != linked.digest:
        lowering.problem(f"the digest of {config.module} is {linked.digest}", "put the right file there", "sha256")
    if config.function not in linked.functions:
        remedy = near_name(config.function, tuple(linked.functions), "its functions are")
        lowering.problem(f"the module exports no function {config.function!r}", remedy, "function")
        return None
    return linked


def _check_way(config: WasmConfig, lowering: Lowering) -> None:
    """Whether the options fit each other."""
    if config.threads is None:
        for option in needs_waiting(config):
            remedy = "give `threads`, or leave this out"
            lowering.problem("the function is called in the worker, which does not wait for it", remedy, option)
        if config.fuel > HELD_MAX_FUEL:
            message = f"more than {HELD_MAX_FUEL:,} instructions hold up the worker"
            lowering.problem(message, "give `threads`", "fuel")
    if config.arguments is None and config.field is not None:
        lowering.problem("the function gives rows, no number", "give `arguments`, or name it in `output`", "field")
    if config.arguments is not None and config.output is not None:
        lowering.problem("the function gives a number, no rows", "leave it out, or leave out `arguments`", "output")
    mark = mark_of(config.resilience)
    if mark is not None and (config.output or {}).get(mark) != "bool":
        lowering.problem(f"rows have no bool {mark!r}", "name it in `output`", "resilience.cache.mark")


def _schema(config: WasmConfig, linked: Linked | None, lowering: Lowering) -> Schema | None:
    fields = lowering.input.schema.fields
    if config.output is not None:
        fields, problems = parse_fields(config.output)
        for name, message in problems:
            lowering.problem(message, key=f"output.{name}")
    elif config.field is not None and linked is not None:
        if config.field in lowering.input.schema.names:
            lowering.problem(f"rows have a field {config.field!r} already", "use another name", "field")
        results = linked.functions[config.function].results
        fields = (*fields, Field(config.field, _GIVES.get("".join(results), FieldType.INT)))
    return Schema(f"{lowering.name.title().replace('_', '')}Row", fields)


def _arguments(config: WasmConfig, linked: Linked, lowering: Lowering) -> tuple[Expression, ...] | None:
    """Expressions of the parameters; None when the function takes the row."""
    signature = linked.functions[config.function]
    if config.arguments is None:
        alloc = linked.functions.get("alloc")
        if (signature.parameters, signature.results) != _TRANSFORM:
            remedy = "it must be (i32, i32) → (i64), or `arguments` are given"
            lowering.problem(f"{config.function} is {signature}", remedy, "function")
        if not linked.has_memory or alloc is None or (alloc.parameters, alloc.results) != (("i32",), ("i32",)):
            lowering.problem("there is no way to give it a row", "export `memory` and `alloc: (i32) → (i32)`", "module")
        return None
    gives = ("i32",) if config.field is None else tuple(_GIVES)
    if len(signature.results) != 1 or signature.results[0] not in gives:
        lowering.problem(f"{config.function} is {signature}", f"it must give one {' or '.join(gives)}", "function")
    if len(signature.parameters) != len(config.arguments):
        message = f"{config.function} is {signature}, {len(config.arguments)} arguments are given"
        lowering.problem(message, "give one per parameter", "arguments")
        return ()
    found = []
    for number, (source, wanted) in enumerate(zip(config.arguments, signature.parameters, strict=True)):
        key = f"arguments.{number}"
        value = lowering.expression(source, key)
        if value is None:
            continue
        if value.type not in _TAKES.get(wanted, ()):
            lowering.problem(f"{source} is {value.type}, the function wants {wanted}", "convert it", key)
        elif value.nullable:
            lowering.problem(f"{source} may be null", "use coalesce(…, 0)", key)
        found.append(value)
    return tuple(found)


def _by_json(linked: Linked, function: str, taken: type[Row], given: type[Row]) -> OverRow:
    names, encode = taken.__struct_fields__, msgspec.json.encode
    decode = msgspec.json.Decoder(given | list[given]).decode  # type: ignore[valid-type]

    def over_row(row: Any) -> Any:
        found = linked.transform(function, encode(taken(*[getattr(row, name) for name in names])))
        if not found:
            return None
        try:
            return decode(found)
        except msgspec.DecodeError as error:
            raise CallFailed(
                "wasm_result", f"{function}: its result is no row: {error}", ErrorClass.PERMANENT
            ) from error

    return over_row


def _by_numbers(linked: Linked, config: WasmConfig, arguments: tuple[Expression, ...], given: type[Row]) -> OverRow:
    function, adds = config.function, config.field is not None
    values = [each.evaluate() for each in arguments]
    types = linked.functions[function].parameters
    names = given.__struct_fields__[: -1 if adds else None]

    def over_row(row: Any) -> Any:
        numbers = [_number(value(row), kind) for value, kind in zip(values, types, strict=True)]
        found = linked.call(function, numbers)
        if not adds and not found:
            return None
        own = [getattr(row, name) for name in names]
        return given(*own, found) if adds else given(*own)

    return over_row


def _number(value: Any, kind: str) -> int | float:
    """A value as a parameter. Raises EventError for what does not fit."""
    if kind[0] == "f":
        return float(value)
    bits = int(kind[1:])
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise EventError("wasm_argument", f"{value} does not fit into {kind}")
    return int(value)
