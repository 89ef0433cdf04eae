"""python: a person's function over one row."""

from collections.abc import Mapping
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import Any

import msgspec
from pydantic import Field as Option

from streamflow.calls.coroutine import CoroutineAction
from streamflow.calls.processes import ProcessesAction
from streamflow.kit.declaration import Declaration, NotDeclared, declaration_of_function, find, problems_of_arguments
from streamflow.kit.rows import schema_of
from streamflow.model.schema import FieldType
from streamflow.nodes.call import Call, declared, output_schema
from streamflow.nodes.identity import code_of
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, Mode, NodeKind
from streamflow.nodes.operators import Apply, Await, Operator
from streamflow.nodes.resilience import AsyncConfig, is_ordered, mark_of, needs_waiting, policy_of


class PythonConfig(AsyncConfig):
    """Configuration of a python node. `concurrency` and `order` are for an `async def`, or with `processes`, and so is
    most of `resilience`: a plain function has `retry` (`attempts` and `on`, without pauses) and `fallback`.
    """

    call: Call = Option(description="import path of a function over one row, `package.module:name`; it may be async")
    arguments: dict[str, Any] = Option(
        default_factory=dict, alias="with", description="further arguments of the function"
    )
    processes: int | None = Option(
        None, ge=1, le=64, description="processes of each worker that call a plain function which takes much CPU"
    )
    memory_bytes: int | None = Option(
        None, ge=64 << 20, description="memory that each of these processes may have; a row that needs more fails"
    )


class Python(NodeKind):
    """Gives the rows that a function makes of each row: none, one, or several. An `async def` is awaited.

    Rows of an async function, or of one in `processes`, come by a topic of the node's own; many calls are under way at
    once, and the order of rows stays unless `order` says otherwise.
    """

    kind = "python"
    display_name = "Python"
    description = "Calls a Python function for every row, or awaits it; it gives no row, one, or several."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "python")
    modes = (
        Mode.SYNC,
        Mode.ASYNC,
    )
    config_type = PythonConfig
    parts_off = True
    example = {"call": "streamflow.kit.samples:in_fahrenheit"}

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """Whether the function is an `async def`, or is called in processes."""
        call = config.get("call")
        if config.get("processes") is not None:
            return True
        try:
            return iscoroutinefunction(find(call) if isinstance(call, str) else call)
        except NotDeclared:
            return False  # lowering says what is wrong

    def lower(self, config: PythonConfig, lowering: Lowering) -> Lowered | None:
        """Find the function and compare its hints with the input."""
        before = lowering.input
        found = declared(config.call, declaration_of_function, lowering)
        if found is not None:
            for message in problems_of_arguments(found.target, config.arguments):
                lowering.problem(message, key="with")
            _check_way(found, config, lowering)
            if config.memory_bytes is not None and config.processes is None:
                lowering.problem("memory is bounded in processes of their own", "give `processes`", "memory_bytes")
            _check_mark(found, config, lowering)
        if lowering.failed or found is None:
            return None
        flow = Flow(output_schema(found, lowering.name), before.key, before.key_name, before.repeats)
        arguments = tuple(config.arguments.items())
        policy = policy_of(config.resilience, flow.schema, lowering, code_of(found))
        ordered = is_ordered(config, lowering)
        operator: Operator = Apply(found, arguments, policy if config.resilience is not None else None)
        if found.is_async:
            operator = Await(CoroutineAction(found, arguments), policy, config.concurrency, ordered=ordered)
        elif config.processes is not None:
            action = ProcessesAction(found, _path(found), arguments, config.processes, config.memory_bytes or 0)
            # What has no process yet waits without its time running.
            policy = replace(policy, bulkhead=min(config.processes, policy.bulkhead or config.processes))
            operator = Await(action, policy, config.concurrency, ordered=ordered)
        return None if lowering.failed else Lowered(operator, flow)


def _check_way(found: Declaration, config: PythonConfig, lowering: Lowering) -> None:
    """Whether the options fit the way that the function is called."""
    if found.is_async and config.processes is not None:
        lowering.problem("an `async def` is awaited, it needs no processes", "leave this out", "processes")
    elif not found.is_async and config.processes is None:
        remedy = "write `async def`, give `processes`, or leave this out"
        for option in needs_waiting(config):
            lowering.problem("the function is called in the worker, which does not wait for it", remedy, option)
    elif config.processes is not None:
        if found.input_type is None:
            lowering.problem("its row has to be sent to it", "hint the row with a class over Row", "call")
        try:
            reached = find(_path(found)) is found.target
            msgspec.msgpack.encode(config.arguments)
        except (NotDeclared, TypeError):
            reached = False
        if not reached:
            remedy = "use a function of a module, and arguments that JSON can carry"
            lowering.problem("another process cannot call it", remedy, "call")


def _check_mark(found: Declaration, config: PythonConfig, lowering: Lowering) -> None:
    mark = mark_of(config.resilience)
    field = None if mark is None or found.output_type is None else schema_of(found.output_type).field(mark)
    if mark is not None and (field is None or field.type is not FieldType.BOOL):
        remedy = f"add `{mark}: bool = False` to the row class"
        lowering.problem(f"the function's rows have no bool {mark!r}", remedy, "resilience.cache.mark")


def _path(found: Declaration) -> str:
    return f"{found.target.__module__}:{found.target.__qualname__}"
