"""The functions of nodes that take their inputs apart, in a stage's generated module.

node_5_0(e, k, t, root)      a row comes in at port 0          for m in j_5.enter(0, k, t, Kept_5_0(t, …)):
node_5_1(e, k, t, root)      a row comes in at port 1              r5 = Row_5(k, e.amount, m.method) …
close_5(start, end, rows, …) results that time brings          for k, (t, p0, p1) in rows: …
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from streamflow.engine.foreign_code import tell
from streamflow.engine.source_code import SourceCode
from streamflow.model.expression import Expression
from streamflow.model.schema import Schema
from streamflow.nodes.foreign_operators import Answer
from streamflow.nodes.join_operators import Apart, Combine, Join, TablePair, VersionLookup
from streamflow.nodes.ports import Pick
from streamflow.plan.plan import PlannedNode


@dataclass(frozen=True, slots=True)
class Below:
    """How the fused code goes on behind a node: what stands before and behind its loop, and the rows' way on."""

    prologue: Callable[[], None]
    epilogue: Callable[[], None]
    forward: Callable[[str, str, str], None]  # variables of row, key and root
    guarded_loop: Callable[[str, str], AbstractContextManager[None]]


class JoinCode:
    """Writes the code of one node, number `number`; `keys` are those of its inputs."""

    def __init__(
        self,
        code: SourceCode,
        node: PlannedNode,
        operator: Apart,
        number: int,
        keys: Sequence[Expression | None],
        below: Below,
    ) -> None:
        self._code, self._node, self._operator, self._number = code, node, operator, number
        self._keys, self._below = keys, below

    def functions(self) -> None:
        """One per port."""
        for port in range(len(self._node.inputs)):
            with self._port_function(port):
                match self._operator:
                    case Join():
                        self._join(port, self._operator)
                    case VersionLookup():
                        self._lookup(port, self._operator)
                    case TablePair():
                        self._pair(port)
                    case Combine():
                        self._combine(port, self._operator)
                    case Answer():
                        self._answer(port)

    @contextmanager
    def _port_function(self, port: int) -> Iterator[None]:
        """A function of row e, key k, time t and the root row; a null key becomes a dead letter."""
        code, key_of = self._code, self._keys[port]
        with code.owned_by(self._node.name), code.block(f"def node_{self._number}_{port}(e, k, t, root):"):
            self._below.prologue()
            with code.block("try:"):
                head = "if True:"
                if key_of is None or (key_of.nullable and not isinstance(self._operator, Answer)):
                    code.line(f"if k is None: task.null_key(root, {self._node.name!r})")
                    head = "else:"
                with code.block(head):
                    yield
            with code.block("finally:"):
                code.line("pass")
                self._below.epilogue()

    def _join(self, port: int, join: Join) -> None:
        code, n = self._code, self._number
        code.line(f"found = j_{n}.enter({port}, k, t, {self._kept(port, join.ports[port])})")
        code.line(f"if found is None: task.late({n}, t, k, e)")
        with code.block("elif found:"):
            code.line("at = t; events = iter(found)")
            with self._below.guarded_loop("for m in events:", "root"):
                code.line("t = at if at > m._event_time_ms else m._event_time_ms")
                self._result(["e", "m"] if port == 0 else ["m", "e"], "root")
                code.line(f"passed[{n}] += 1")

    def _lookup(self, port: int, lookup: VersionLookup) -> None:
        code, n = self._code, self._number
        if port == 1:
            code.line("pass  # the table has it already")
            return
        code.line(f"m = j_{n}.find(k, t)")
        code.line(f"if m is None: task.late({n}, t, k, e)")
        code.line(f"elif m is nothing_{n}: pass")
        code.line(f"elif m is later_{n}: j_{n}.hold(k, t, {self._kept(0, lookup.ports[0])})")
        with code.block("else:"):
            code.line(f"passed[{n}] += 1")
            self._result(["e", "m"], "root")

    def _pair(self, port: int) -> None:
        code, n = self._code, self._number
        code.line(f"found = j_{n}.changed({port}, k)")
        with code.block("if found is not None:"):
            code.line("t, p0, p1, deleted = found")
            code.line(f"passed[{n}] += 1")
            self._result(["p0", "p1"], "root")

    def _combine(self, port: int, combine: Combine) -> None:
        code, n = self._code, self._number
        code.line(f"found = j_{n}.enter({port}, k, t, {self._kept(port, combine.ports[port])})")
        code.line(f"if found is None: task.late({n}, t, k, e)")
        with code.block("elif found:"):
            rows = [f"p{each}" for each in range(len(combine.ports))]
            code.line(f"t, {', '.join(rows)}, missing = found")
            code.line(f"passed[{n}] += 1")
            self._result(rows, "root")

    def _answer(self, port: int) -> None:
        """A message about a row without a foreign key is answered too."""
        code, n = self._code, self._number
        code.line(f"known_{n} = routes_{n}.get")
        tell(code, n, f"j_{n}.asked(k, e)" if port == 0 else f"j_{n}.changed(k)")

    def _kept(self, port: int, schema: Schema) -> str:
        return f"Kept_{self._number}_{port}(t, False, {', '.join(f'e.{name}' for name in schema.names)})"

    def _row(self, rows: list[str]) -> str:
        values = [_value(pick, rows) for pick in self._operator.picks]
        if isinstance(self._operator, Combine) and self._operator.incomplete_topic is None:
            values.append("missing")
        if isinstance(self._operator, TablePair):
            values.append("deleted")
        return f"Row_{self._number}({', '.join(values)})"

    def _result(self, rows: list[str], root: str) -> None:
        """Build the result of one row per port, and hand it on."""
        self._code.line(f"r{self._number} = {self._row(rows)}")
        self._below.forward(f"r{self._number}", "k", root)

    def close_function(self) -> None:
        """Results that time brings come as (key, (event time, row of port 0, row of port 1, …))."""
        code, n, operator = self._code, self._number, self._operator
        if isinstance(operator, TablePair | Answer):
            return  # only changes bring results
        rows = [f"p{port}" for port in range(len(self._node.inputs))]
        parts = ["t", *rows, "missing"] if isinstance(operator, Combine) else ["t", *rows]
        with code.owned_by(self._node.name), code.block(f"def close_{n}(start, end, rows, final):"):
            self._below.prologue()
            code.line(f"r{n} = None; events = iter(rows)")
            with self._below.guarded_loop(f"for k, ({', '.join(parts)}) in events:", f"r{n}"):
                if isinstance(operator, Combine) and operator.incomplete_topic is not None:
                    code.line(f"if missing: aside_{n}(k, {self._row(rows)}, missing); continue")
                code.line(f"passed[{n}] += 1")
                self._result(rows, f"r{n}")
            self._below.epilogue()


def _value(pick: Pick, rows: list[str]) -> str:
    return "k" if pick.port is None else f"{rows[pick.port]}.{pick.field}"
