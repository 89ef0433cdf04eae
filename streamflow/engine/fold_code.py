"""The statements of windows in the fused code, by the shape of the window.

panes       late?  pane of t (the last one's,    a = changed[k] or touch(k)                  adds
                   its cell's, or entered)
session                                          a = recent[k], t inside it, or enter(k, t)  adds
count                                            a = changed[k] or touch(k)                  adds  full?
unbounded                                        a = changed[k] or touch(k)                  adds

Behind the adds a trigger may fire the window with what it has by then.
"""

from streamflow.engine.bounded_value import bounded
from streamflow.engine.source_code import SourceCode
from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Fold, NamedAggregate
from streamflow.plan.plan import PlannedNode
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session
from streamflow.windows.shape import PANE_SHAPES, PaneShape
from streamflow.windows.unbounded import Unbounded


class FoldCode:
    """Writes the code of one window node, number `number`, into `code`."""

    def __init__(self, code: SourceCode, node: PlannedNode, fold: Fold, number: int, layout: AccumulatorLayout) -> None:
        self._code, self._node, self._fold, self._number, self._layout = code, node, fold, number, layout

    def prologue(self) -> None:
        """Bring what the statements use into local variables."""
        code, n = self._code, self._number
        if isinstance(self._fold.window, PANE_SHAPES):
            code.line(f"open_{n} = w_{n}.open_from")
            code.line(f"lo_{n}, hi_{n}, get_{n}, touch_{n} = w_{n}.current")
            code.line(f"cell_{n} = w_{n}.cells.get")
        elif isinstance(self._fold.window, Session):
            code.line(f"get_{n}, enter_{n} = w_{n}.get, w_{n}.enter")
        else:
            code.line(f"get_{n}, touch_{n} = w_{n}.get, w_{n}.touch")

    def advanced(self) -> None:
        """Read again what may have changed when the task has advanced."""
        if isinstance(self._fold.window, PANE_SHAPES):
            self.prologue()

    def statements(self, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """Fold one row into its window."""
        code, n = self._code, self._number
        # Arguments before the look-up: an expression that fails must not leave a window with an empty accumulator.
        arguments: dict[str, str] = {}
        for each in self._fold.aggregates:
            if each.argument is not None:
                arguments.setdefault(_value(each, row), f"v{n}_{len(arguments)}")
        tests = []
        if key_of is not None and key_of.nullable:
            tests.append(f"if {key} is None: task.null_key({root}, {self._node.name!r})")
        if isinstance(self._fold.window, PANE_SHAPES):
            tests.append(f"{'elif' if tests else 'if'} t < open_{n}: task.late({n}, t, {key}, {row})")
        for line in tests:
            code.line(line)
        with code.block("else:" if tests else "if True:"):
            for text, name in arguments.items():
                code.line(f"{name} = {text}")
            if self._fold.trigger_when is not None:
                code.line(f"y{n} = {self._fold.trigger_when.python(row)}")
            match self._fold.window:
                case Session():
                    self._into_session(self._fold.window, row, key, arguments)
                case Counted() | Unbounded():
                    self._into_key(row, key, arguments)
                case shape:
                    self._into_pane(shape, row, key, arguments)

    def _into_pane(self, shape: PaneShape, row: str, key: str, arguments: dict[str, str]) -> None:
        code, n = self._code, self._number
        with code.block(f"if not lo_{n} <= t < hi_{n}:"):
            code.line(f"lo_{n}, hi_{n}, get_{n}, touch_{n} = cell_{n}(t // {shape.cell_ms}) or w_{n}.enter(t)")
        code.line(f"a{n} = get_{n}({key})")
        code.line(f"if a{n} is None: a{n} = touch_{n}({key})")
        self._adds(row, arguments)
        self._trigger(key, f"lo_{n}, hi_{n}")

    def _into_session(self, session: Session, row: str, key: str, arguments: dict[str, str]) -> None:
        code, n = self._code, self._number
        code.line(f"a{n} = get_{n}({key})")
        with code.block(f"if a{n} is None or t < a{n}.start or t >= a{n}.last + {session.gap_ms}:"):
            code.line(f"a{n} = enter_{n}({key}, t)")
        code.line(f"elif t > a{n}.last: a{n}.last = t")
        code.line(f"if a{n} is None: task.late({n}, t, {key}, {row})")
        with code.block("else:"):
            self._adds(row, arguments)
            self._trigger(key, "0, 0")

    def _into_key(self, row: str, key: str, arguments: dict[str, str]) -> None:
        code, n, window = self._code, self._number, self._fold.window
        code.line(f"a{n} = get_{n}({key})")
        code.line(f"if a{n} is None: a{n} = touch_{n}({key})")
        code.line(f"if t > a{n}.last: a{n}.last = t")
        if isinstance(window, Counted):
            code.line(f"if t < a{n}.start: a{n}.start = t")
        if self._fold.keeps_seen:
            code.line(f"if t > a{n}.seen: a{n}.seen = t")
        self._adds(row, arguments)
        self._trigger(key, f"w_{n}.moment, 0")
        if isinstance(window, Counted):
            code.line(f"a{n}.count += 1")
            overdue = f" or a{n}.start == t and w_{n}.waits({key}, t)" if window.within_ms else ""
            code.line(f"if a{n}.count == {window.pane}{overdue}: w_{n}.full({key})")

    def _adds(self, row: str, arguments: dict[str, str]) -> None:
        code, n = self._code, self._number
        for index, each in enumerate(self._fold.aggregates):
            value = "" if each.argument is None else arguments[_value(each, row)]
            lines = self._layout.add_source(index, f"a{n}", value, "t")
            if lines and each.argument is not None and each.argument.nullable:
                lines = [f"if {value} is not None:", *(f"    {line}" for line in lines)]
            for line in lines:
                code.line(line)
        if not self._fold.aggregates:
            code.line("pass")

    def _trigger(self, key: str, borders: str) -> None:
        code, n, fold = self._code, self._number, self._fold
        tests = []
        if fold.trigger_rows:
            code.line(f"a{n}.rows += 1")
            tests.append(f"a{n}.rows % {fold.trigger_rows} == 0")
        if fold.trigger_when is not None:
            tests.append(f"y{n}")
        if tests:
            code.line(f"if {' or '.join(tests)}: fire_{n}({borders}, (({key}, a{n}),), False)")

    # -- results ------------------------------------------------------------------------------------------------------

    def borders(self) -> None:
        """Borders and event time of the result of accumulator `a`, where they differ from key to key."""
        match self._fold.window:
            case Session():
                self._code.line(f"start = a.start; end = a.last + {self._fold.window.gap_ms}; t = end - 1")
            case Counted():
                self._code.line("start = a.start; end = a.last + 1; t = a.last")
            case Unbounded():
                self._code.line("t = a.last if a.last > start else start")
            case _:
                pass

    def result(self) -> str:
        """Arguments of the result row, in the order of the node's schema."""
        window = self._fold.window
        values = ["k"]
        if isinstance(window, Counted):
            values.append("a.number")
        if not isinstance(window, Unbounded):
            values += ["start", "end"]
        values += [self._layout.value_source(index, "a") for index in range(len(self._fold.aggregates))]
        if self._fold.shows_final:
            values.append("final")
        if self._fold.corrects:
            values.append("a.revision")
        return ", ".join(values)

    def checks(self, row: str) -> None:
        """Results that may be beyond 64 bits are checked; the row is there, so that it can be put aside."""
        for each in self._fold.aggregates:
            if each.aggregate.overflows:
                # x - x is 0.0 for every float but infinity and not-a-number.
                is_float = each.aggregate.result_type is FieldType.FLOAT
                fits = "x - x == 0.0" if is_float else f"{-(2**63)} <= x <= {2**63 - 1}"
                test = f"(x := {row}.{each.name}) is not None and not ({fits})"
                self._code.line(f"if {test}: task.overflow({each.name!r})")


def _value(each: NamedAggregate, row: str) -> str:
    """Python of the value that an aggregate adds: its argument, checked and lifted. It may raise for a bad event."""
    assert each.argument is not None
    text, lift = bounded(each.argument, row), each.aggregate.lift
    if not lift:
        return text
    if each.argument.nullable:
        return f"(None if (x := {text}) is None else {lift.format(v='x')})"
    return lift.format(v=text)
