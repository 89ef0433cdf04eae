"""Fusion: a stage's nodes become one generated function per entry, per window, and per node of a person's code.

    departures ─► flown ─► hourly        entry_0(rows):                       close_0(start, end, rows, final):
                             │ result      for e in rows:                       for k, a in rows:
                             ▼               t = e.time …watermark…               r0 = Row0(k, start, end, a.c0)
                            out              if e.dep_delay is not None:          …route…append((key, encode(r0)))
                                               a = get_0(k) or touch_0(k)
                                               a.c0 += 1

A row travels in local variables (`e` row, `k` key, `t` event time), so a chain of nodes costs what its statements cost.
A node with several inputs becomes a function of its own, so that its code exists once. Unfused, every node does: same
statements, joined by calls; both must give the same results (property test).

A statement that raises ends only the branch it is in: where rows fork, each branch has its own handler, and the loop
goes on with the next row. Handlers cost nothing until they are used (Python 3.11 zero-cost try).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from streamflow.engine.ahead import score_line, scored
from streamflow.engine.bounded_value import bounded
from streamflow.engine.chain_code import CHAINED, chained
from streamflow.engine.fold_code import FoldCode
from streamflow.engine.foreign_code import settle, tell
from streamflow.engine.join_code import Below, JoinCode
from streamflow.engine.leaving_code import leave
from streamflow.engine.letters import GENERATED
from streamflow.engine.lookup_code import look_up, widened
from streamflow.engine.run_shape import ends_run, leaves, needs_time, too_deep
from streamflow.engine.source_code import GuardedLoop, SourceCode
from streamflow.engine.time_code import follow_time
from streamflow.model.approval import Outcome
from streamflow.model.expression import Expression
from streamflow.nodes.foreign_operators import Answer, Settle, Subscribe
from streamflow.nodes.join_operators import Apart, TablePair, Upsert
from streamflow.nodes.operators import (
    KEY_FIELD,
    Apply,
    Await,
    Count,
    Distinct,
    Emit,
    Filter,
    Fold,
    Handover,
    Limit,
    Lookup,
    Output,
    Park,
    Pass,
    Process,
    Project,
    Rekey,
    Rescued,
    Score,
    Switch,
    Unfold,
)
from streamflow.nodes.sink_operators import Deliver, Hand
from streamflow.plan.plan import Entry, EntryKind, PlannedNode, Stage
from streamflow.windows.layout import AccumulatorLayout

#: Operators that count the rows that pass them.
_GATES = Filter | Output | Rescued | Lookup | Distinct | Limit | Score


class Fusion:
    """Generates the module of one stage. `source` holds it after `generate`.

    Names in the module's namespace, per node number i: `Row_i` row class, `w_i` FoldTable, `c_i` KeyedTable, `f_i`
    a function of a row, `m_i` Scorer, `rows_i` of a global table and `absent_i` for what it lacks, `u_i`
    VersionedTable, `j_i` table of a join, `Kept_i_p` class of rows kept from port p, `routes_i` and `route_i` of
    outputs, `texts_i` and `text_i` where keys are texts; `clock_i` per entry number, `parked_i` and `park_i` of one
    that parks; `task`, `passed`, `encode`. probed: `walk(i, before, row)` is told of every row at every node.
    """

    def __init__(
        self, stage: Stage, layouts: dict[str, AccumulatorLayout], *, fused: bool, probed: bool = False
    ) -> None:
        self._stage, self._probed = stage, probed
        self._layouts = layouts
        self._fused, self._too_deep = fused, too_deep(stage.nodes)
        self._numbers = {node.name: number for number, node in enumerate(stage.nodes)}
        self._children: dict[str, list[PlannedNode]] = {}
        #: Per node the one that takes the rows that fail there, or are too many.
        self._rescued: dict[str, PlannedNode] = {}
        limits = {node.name for node in stage.nodes if isinstance(node.operator, Limit)}
        for node in stage.nodes:
            if isinstance(node.operator, Rescued) or (isinstance(node.operator, Output) and node.inputs[0] in limits):
                self._rescued[node.inputs[0]] = node
                continue
            for name in node.inputs:
                self._children.setdefault(name, []).append(node)
        self.source = SourceCode(f"{GENERATED}{stage.name}{', probed' * probed}>")

    def generate(self) -> SourceCode:
        """Write the whole module."""
        for node in self._stage.nodes:
            if isinstance(node.operator, Apart):
                self._join_code(node, node.operator).functions()
            elif not self._inline(node):
                self._node_function(node)
        for node in self._stage.nodes:
            if isinstance(node.operator, Fold):
                self._close_function(node, node.operator)
            elif isinstance(node.operator, Apply | Await | Process | Unfold | Park):
                self._emit_function(node)
            elif isinstance(node.operator, Upsert) and node.operator.ends_keys:
                self._end_function(node)
            elif isinstance(node.operator, Apart):
                self._join_code(node, node.operator).close_function()
        for number, entry in enumerate(self._stage.entries):
            self._entry_functions(number, entry)
        return self.source

    def number(self, node: PlannedNode) -> int:
        """Number of a node in the module's names."""
        return self._numbers[node.name]

    def _inline(self, node: PlannedNode) -> bool:
        single = len(node.inputs) == 1 and not isinstance(node.operator, Apart)
        return self._fused and single and node.name not in self._too_deep

    def _inline_below(self, name: str) -> list[PlannedNode]:
        """Nodes whose statements stand in the same function as `name`'s, in order. See `ends_run`."""
        found: list[PlannedNode] = []
        for child in self._children.get(name, []):
            if self._inline(child):
                found += [child, *self._rescued_below(child.name)]
                if not ends_run(child):
                    found += self._inline_below(child.name)
        return found

    def _rescued_below(self, name: str) -> list[PlannedNode]:
        """Nodes for rows that fail at `name` whose statements stand beside it."""
        rescued = self._rescued.get(name)
        return [] if rescued is None or not self._inline(rescued) else [rescued, *self._inline_below(rescued.name)]

    # -- functions ----------------------------------------------------------------------------------------------------

    def _entry_function(
        self, number: int, entry: Entry, name: str = "entry", *, timed: bool = True, parked: bool = False
    ) -> None:
        """timed: rows move time. parked: keys may be parked, whose rows wait."""
        code = self.source
        inlined = self._inline_below(entry.node)
        with code.owned_by(entry.node), code.block(f"def {name}_{number}(rows, times, behind, ahead):"):
            self._prologue(inlined)
            is_source = entry.kind is EntryKind.SOURCE and timed
            if is_source:
                code.line(f"high = clock_{number}.high_ms; dues = task.due; back = 0")
            from_field = is_source and entry.event_time is not None
            code.line("events = iter(rows)" if from_field else "events = zip(times, rows)")
            with self._guarded_loop("for e in events:" if from_field else "for t, e in events:", "e"):
                if from_field:
                    code.line(f"t = e.{entry.event_time}")
                if is_source:
                    told = needs_time(self._stage.nodes)
                    follow_time(code, number, entry, told=told, advanced=lambda: self._advanced(inlined))
                code.line(f"k = {entry.key.python('e') if entry.key else 'None'}")
                if parked:
                    code.line(f"if k in parked_{number}: park_{number}(e, k, t); continue")
                self._forward(entry.node, "e", "k", entry.key, "e")
            if is_source:
                code.line(f"clock_{number}.high_ms = high; task.counters.disordered[{number}] += back")
            self._epilogue(inlined)

    def _advanced(self, inlined: list[PlannedNode]) -> None:
        for node in inlined:
            if isinstance(node.operator, Fold):
                self._fold_code(node, node.operator).advanced()

    def _entry_functions(self, number: int, entry: Entry) -> None:
        """Of an entry that parks also that where keys are parked, that of rows that come again, and a row's key."""
        if entry.decides:
            self._decisions_function(number, entry)
        elif not entry.releases:
            self._entry_function(number, entry)
        if entry.parks is None or entry.key is None:
            return
        self._entry_function(number, entry, "held", parked=True)
        self._entry_function(number, entry, "released", timed=False)
        with self.source.owned_by(entry.node), self.source.block(f"def key_{number}(e):"):
            self.source.line(f"return {entry.key.python('e')}")

    def _close_function(self, node: PlannedNode, fold: Fold) -> None:
        code, number = self.source, self.number(node)
        inlined, fold_code = self._inline_below(node.name), self._fold_code(node, fold)
        with code.owned_by(node.name), code.block(f"def close_{number}(start, end, rows, final):"):
            self._prologue(inlined)
            code.line("t = end - 1; r = None; results = 0")
            code.line("events = iter(rows)")
            with self._guarded_loop("for k, a in events:", "r"):
                fold_code.borders()
                code.line(f"r = Row_{number}({fold_code.result()})")
                fold_code.checks("r")
                code.line("results += 1")
                self._forward(node.name, "r", "k", None, "r")
            code.line(f"passed[{number}] += results")
            code.line(f"if final: task.counters.closed[{number}] += results")
            self._epilogue(inlined)

    def _end_function(self, node: PlannedNode) -> None:
        """Keys of a table have ended: who looks into it is told, and a sink gets tombstones."""
        code, children = self.source, self._children.get(node.name, [])
        inlined = self._inline_below(node.name)
        sinks = [child for child in children if isinstance(child.operator, Emit)]
        with code.owned_by(node.name), code.block(f"def close_{self.number(node)}(start, end, rows, final):"):
            self._prologue([*inlined, *(sink for sink in sinks if sink not in inlined)])
            code.line("events = iter(rows)")
            with self._guarded_loop("for k, (t, r) in events:", "r"):
                code.line("pass")
                for sink in sinks:
                    leave(self.source, self.number(sink), "k", node.key, "None")
                for child in children:
                    if isinstance(child.operator, TablePair | Subscribe | Answer):
                        self._enter(child, node.name, "r", "k", node.key, "r")
            self._epilogue(inlined)

    def _emit_function(self, node: PlannedNode) -> None:
        """Rows of a person's code, or of a list, go on. `root`: the row they were made of, None for rows of a timer."""
        code, number = self.source, self.number(node)
        inlined = self._inline_below(node.name)
        with code.owned_by(node.name), code.block(f"def emit_{number}(rows, k, t, root):"):
            self._prologue(inlined)
            code.line(f"passed[{number}] += len(rows)")
            code.line("o = root")
            code.line("events = iter(rows)")
            with self._guarded_loop("for r in events:", "o"):
                code.line("o = r if root is None else root")
                if isinstance(node.operator, Park):
                    self._by_outcome(node, node.operator)
                elif isinstance(node.operator, Process) and node.operator.cases:
                    self._switch(node, node.operator, "r", "k", self._incoming_key(node), "o")
                else:
                    self._forward(node.name, "r", "k", self._incoming_key(node), "o")
            self._epilogue(inlined)

    def _by_outcome(self, node: PlannedNode, park: Park) -> None:
        """A row that waited goes to the output of its outcome."""
        outputs, word = {child.name: child for child in self._children[node.name]}, "if"
        for outcome in Outcome:
            with self.source.block(f"{word} r.{park.account}['outcome'] == {outcome.value!r}:"):
                self._enter(outputs[f"{node.name}.{outcome}"], node.name, "r", "k", self._incoming_key(node), "o")
            word = "elif"

    def _decisions_function(self, number: int, entry: Entry) -> None:
        """What people say goes to the table of the node that it is about."""
        code, node = self.source, self._numbers[entry.decides]
        with code.owned_by(entry.decides), code.block(f"def entry_{number}(rows, times, behind, ahead):"):
            code.line("events = iter(rows)")
            with self._guarded_loop("for e in events:", "e"):
                code.line(f"w_{node}.decide(e)")

    def _fold_code(self, node: PlannedNode, fold: Fold) -> FoldCode:
        return FoldCode(self.source, node, fold, self.number(node), self._layouts[node.name])

    def _node_function(self, node: PlannedNode) -> None:
        code, number = self.source, self.number(node)
        inlined = [node, *self._rescued_below(node.name)]
        inlined += [] if ends_run(node) else self._inline_below(node.name)
        with code.owned_by(node.name), code.block(f"def node_{number}(e, k, t, root):"):
            self._prologue(inlined)
            with code.block("try:"):
                self._statements(node, "e", "k", self._incoming_key(node), "root")
            with code.block("finally:"):
                code.line("pass")
                self._epilogue(inlined)

    def _join_code(self, node: PlannedNode, operator: Apart) -> JoinCode:
        inlined = self._inline_below(node.name)
        below = Below(
            lambda: self._prologue(inlined),
            lambda: self._epilogue(inlined),
            lambda row, key, root: self._forward(node.name, row, key, node.key, root),
            self._guarded_loop,
        )
        return JoinCode(self.source, node, operator, self.number(node), self._incoming_keys(node), below)

    def _incoming_keys(self, node: PlannedNode) -> list[Expression | None]:
        """Key of the rows that come into a node, per input."""
        keys = {entry.node: entry.key for entry in self._stage.entries}
        keys = {each.name: each.key for each in self._stage.nodes} | keys
        return [keys[name] for name in node.inputs]

    def _incoming_key(self, node: PlannedNode) -> Expression | None:
        """Key of the rows that come into a node; of several inputs one whose key may be null, if there is any."""
        incoming = self._incoming_keys(node)
        return next((key for key in incoming if key is not None and key.nullable), incoming[0])

    def _guarded_loop(self, head: str, root: str) -> GuardedLoop:
        return GuardedLoop(self.source, head, root)

    def _prologue(self, nodes: list[PlannedNode]) -> None:
        code = self.source
        for node in nodes:
            number = self.number(node)
            match node.operator:
                case Filter() | Output() | Rescued() | Distinct() | Limit() | Score():
                    code.line(f"n_{number} = 0")
                case Lookup():
                    code.line(f"find_{number} = rows_{number}.get; n_{number} = 0")
                case Fold():
                    self._fold_code(node, node.operator).prologue()
                case _:
                    pass
            if node.level_topics:
                names = ", ".join(f"{name}_{number}" for name in ("known", "route", "sent", "text"))
                code.line(f"{names} = leveled_{number}[task.level]")
            elif leaves(node) or (isinstance(node.operator, Limit) and node.operator.topic is not None):
                code.line(f"known_{number} = routes_{number}.get; sent_{number} = texts_{number}.get")

    def _epilogue(self, nodes: list[PlannedNode]) -> None:
        for node in nodes:
            if isinstance(node.operator, _GATES):
                self.source.line(f"passed[{self.number(node)}] += n_{self.number(node)}")

    # -- statements ---------------------------------------------------------------------------------------------------

    def _forward(self, name: str, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """Hand a row to everything below `name`."""
        code, children = self.source, self._children.get(name, [])
        if not children:
            code.line("pass")
        for child in children:
            if len(children) > 1:
                with code.block("try:"):
                    self._enter(child, name, row, key, key_of, root)
                code.line(f"except Exception as error: task.failed({root}, error)")
            else:
                self._enter(child, name, row, key, key_of, root)

    def _enter(self, node: PlannedNode, before: str, row: str, key: str, key_of: Expression | None, root: str) -> None:
        with self.source.owned_by(node.name):
            if self._probed:
                self.source.line(f"walk({self.number(node)}, {before!r}, {row})")
            if self._inline(node):
                self._statements(node, row, key, key_of, root)
            else:
                port = f"_{node.inputs.index(before)}" if isinstance(node.operator, Apart) else ""
                self.source.line(f"node_{self.number(node)}{port}({row}, {key}, t, {root})")

    def _statements(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        number, operator = self.number(node), node.operator
        match operator:
            case Pass() | Filter() | Output() | Rescued():
                self._pass(node, row, key, key_of, root)
            case Switch() | Unfold() | Rekey() | Handover():
                self._redirect(node, row, key, key_of, root)
            case Project() if node.name in self._rescued:
                values = ", ".join(bounded(value, row) for value in operator.values)
                with self._or_rescued(node, f"r{number} = Row_{number}({values})", row, key, key_of, root):
                    self._forward(node.name, f"r{number}", key, key_of, root)
            case Project():
                chain = self._chain(node)
                with chained(self.source, chain, self._numbers, row) as made:
                    self._forward(chain[-1].name, made, key, key_of, root)
            case Lookup() | Score():
                self._widen(node, row, key, key_of, root)
            case Count():
                self._count(node, operator, row, key, key_of, root)
            case Fold():
                self._fold_code(node, operator).statements(row, key, key_of, root)
            case Apply() | Await() | Process() | Park():
                self._python_code(node, row, key, key_of, root)
            case Distinct() | Limit():
                self._gate(node, row, key, key_of, root)
            case Upsert() | Subscribe() | Settle():
                self._table(node, operator, row, key, key_of, root)
            case Emit() | Hand() | Deliver():
                self._end(node, row, key, key_of)

    def _chain(self, node: PlannedNode) -> list[PlannedNode]:
        """The nodes from a projection on that need no row, see `chain_code.py`. Probed, every row is looked at."""
        found = [node]
        while not self._probed and len(below := self._children.get(found[-1].name, [])) == 1:
            if (
                not isinstance(below[0].operator, CHAINED)
                or not self._inline(below[0])
                or below[0].name in self._rescued
            ):
                break
            found += below
        return found

    def _pass(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """Rows pass as they are, or not."""
        code, number = self.source, self.number(node)
        match node.operator:
            case Filter() as test if node.name in self._rescued:
                found = f"x{number} = {test.predicate.python(row)}"
                with self._or_rescued(node, found, row, key, key_of, root):
                    self._pass_if(node, f"x{number}", row, key, key_of, root)
            case Filter() as test:
                self._pass_if(node, test.predicate.python(row), row, key, key_of, root)
            case Rescued():
                # Rows of an async node have more fields.
                code.line(f"r{number} = Row_{number}({''.join(f'{row}.{name}, ' for name in node.schema.names)})")
                self._pass_if(node, "True", f"r{number}", key, key_of, root)
            case Output():
                self._pass_if(node, "True", row, key, key_of, root)
            case _:
                self._forward(node.name, row, key, key_of, root)

    def _pass_if(self, node: PlannedNode, test: str, row: str, key: str, key_of: Expression | None, root: str) -> None:
        with self.source.block(f"if {test}:"):
            self.source.line(f"n_{self.number(node)} += 1")
            self._forward(node.name, row, key, key_of, root)

    @contextmanager
    def _or_rescued(
        self, node: PlannedNode, line: str, row: str, key: str, key_of: Expression | None, root: str
    ) -> Iterator[None]:
        """What follows `line` when it did not fail. If it did, the row goes to who takes such rows; see `rescue.py`."""
        code, rescued = self.source, self._rescued.get(node.name)
        if rescued is None:
            code.line(line)
            yield
            return
        with code.block("try:"):
            code.line(line)
        with code.block("except Exception as error:"):
            code.line(f"rescue({self.number(node)}, error)")
            self._enter(rescued, node.name, row, key, key_of, root)
        with code.block("else:"):
            yield

    def _gate(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """A row passes or not, by what its key has seen."""
        code, number = self.source, self.number(node)
        limit = node.operator if isinstance(node.operator, Limit) else None
        with code.block(self._keyed_head(node, key, key_of, root)):
            if isinstance(node.operator, Distinct):
                identity = ", ".join([key, *(part.python(row) for part in node.operator.parts)])
                code.line(f"x{number} = w_{number}.judge({f'({identity})' if node.operator.parts else key}, t)")
                code.line(f"if x{number} is None: task.late({number}, t, {key}, {row})")
            with code.block(f"elif x{number}:" if limit is None else f"if w_{number}.take({key}, t):"):
                code.line(f"n_{number} += 1")
                self._forward(node.name, row, key, None, root)
            aside = self._rescued.get(node.name)
            if limit is not None and (limit.topic is not None or aside is not None):
                with code.block("else:"):
                    if limit.topic is not None:  # first: what fails among its readers is in the topic too
                        leave(self.source, number, key, key_of, f"encode({row})")
                    if aside is not None:
                        self._enter(aside, node.name, row, key, None, root)

    def _redirect(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """Rows go on elsewhere: under another key, to one of several outputs, or as others."""
        match node.operator:
            case Rekey() as rekey:
                self._rekey(node, rekey, row, root)
            case Switch() as switch:
                self._switch(node, switch, row, key, key_of, root)
            case Handover():
                fields = "".join(f"{key if name == KEY_FIELD else f'{row}.{name}'}, " for name in node.schema.names)
                leave(self.source, self.number(node), "None", None, f"encode((t, {fields}))")
            case Unfold() as unfold:
                self._unfold(node, unfold, row, key, key_of, root)

    def _switch(
        self, node: PlannedNode, operator: Switch | Process, row: str, key: str, key_of: Expression | None, root: str
    ) -> None:
        """The first case that holds takes the row; each is tested once."""
        outputs = {child.name: child for child in self._children[node.name]}
        word = "if"
        for name, predicate in operator.cases:
            with self.source.block("else:" if predicate is None else f"{word} {predicate.python(row)}:"):
                self._enter(outputs[name], node.name, row, key, key_of, root)
            word = "elif"

    def _unfold(
        self, node: PlannedNode, operator: Unfold, row: str, key: str, key_of: Expression | None, root: str
    ) -> None:
        """All elements are checked before the first row goes on."""
        code, number = self.source, self.number(node)
        values = [f"{row}.{name}" for name in operator.keep]
        values += ["v"] if operator.plain else [f"v.{name}" for name in operator.element.names]
        values += ["i"] if operator.position is not None else []
        made = f"[Row_{number}({', '.join(values)}) for i, v in enumerate(x{number})]"
        elements = f"x{number} = f_{number}({operator.elements.python(row)})"
        with self._or_rescued(node, elements, row, key, key_of, root):
            code.line(f"if x{number}: emit_{number}({made}, {key}, t, {root})")

    def _python_code(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        code, number = self.source, self.number(node)
        if isinstance(node.operator, Apply | Await):
            with self._or_rescued(node, f"x{number} = f_{number}({row})", row, key, key_of, root):
                code.line(f"if x{number}: emit_{number}(x{number}, {key}, t, {root})")
            return
        with code.block(self._keyed_head(node, key, key_of, root)):
            if isinstance(node.operator, Park):
                code.line(f"w_{number}.park({row}, {key}, t)")
            else:
                called = f"x{number} = w_{number}.process({row}, {key}, t)"
                with self._or_rescued(node, called, row, key, key_of, root):
                    code.line(f"if x{number}: emit_{number}(x{number}, {key}, t, {root})")
            code.line(f"if w_{number}.overdue: w_{number}.settle()")

    def _keyed_head(self, node: PlannedNode, key: str, key_of: Expression | None, root: str) -> str:
        """Head of a block for rows that have a key; those without are put aside before."""
        if key_of is None or not key_of.nullable:
            return "if True:"
        self.source.line(f"if {key} is None: task.null_key({root}, {node.name!r})")
        return "else:"

    def _rekey(self, node: PlannedNode, operator: Rekey, row: str, root: str) -> None:
        code, number = self.source, self.number(node)
        code.line(f"k{number} = {operator.key.python(row)}")
        with code.block(self._keyed_head(node, f"k{number}", operator.key, root)):
            if node.repartition_topic is not None:
                fields = "".join(f"{row}.{name}, " for name in node.schema.names)
                leave(self.source, number, f"k{number}", operator.key, f"encode((t, {fields}))")
            else:
                self._forward(node.name, row, f"k{number}", operator.key, root)

    def _widen(self, node: PlannedNode, row: str, key: str, key_of: Expression | None, root: str) -> None:
        """Rows get fields of a global table, or what a model gives for them."""
        number = self.number(node)
        if isinstance(node.operator, Lookup):
            rescued = node.name in self._rescued
            found = look_up(number, node, node.operator, row, rescued=rescued)
            with (
                self._or_rescued(node, found, row, key, key_of, root),
                widened(self.source, number, node, node.operator, row, root, rescued=rescued),
            ):
                self._forward(node.name, f"r{number}", key, key_of, root)
        elif isinstance(node.operator, Score):
            asked = score_line(number, node.operator, row, key)
            with (
                self._or_rescued(node, asked, row, key, key_of, root),
                scored(self.source, number, node, node.operator, row),
            ):
                self.source.line(f"n_{number} += 1")
                self._forward(node.name, f"r{number}", key, key_of, root)

    def _count(
        self, node: PlannedNode, operator: Count, row: str, key: str, key_of: Expression | None, root: str
    ) -> None:
        code, number = self.source, self.number(node)
        with code.block(self._keyed_head(node, key, key_of, root)):
            values = [
                f"c_{number}.next({key})" if name == operator.field else f"{row}.{name}" for name in node.schema.names
            ]
            code.line(f"r{number} = Row_{number}({', '.join(values)})")
            self._forward(node.name, f"r{number}", key, key_of, root)

    def _table(
        self,
        node: PlannedNode,
        operator: Upsert | Subscribe | Settle,
        row: str,
        key: str,
        key_of: Expression | None,
        root: str,
    ) -> None:
        code, number = self.source, self.number(node)
        match operator:
            case Upsert():
                self._upsert(node, operator, row, key, key_of, root)
            case Subscribe():
                tell(code, number, f"j_{number}.told({key})")
            case Settle():
                settle(code, number, operator, row, key, lambda r: self._forward(node.name, r, key, node.key, root))

    def _upsert(
        self, node: PlannedNode, operator: Upsert, row: str, key: str, key_of: Expression | None, root: str
    ) -> None:
        code, number = self.source, self.number(node)
        head = "if"
        if key_of is None or key_of.nullable:
            code.line(f"if {key} is None: task.null_key({root}, {node.name!r})")
            head = "elif"
        deleted = operator.delete.python(row) if operator.delete is not None else "False"
        values = ", ".join(f"{row}.{name}" for name in operator.row.names)
        with code.block(f"{head} u_{number}.put({key}, t, Kept_{number}(t, {deleted}, {values})):"):
            code.line(f"passed[{number}] += 1")
            self._forward(node.name, row, key, node.key, root)

    def _end(self, node: PlannedNode, row: str, key: str, key_of: Expression | None) -> None:
        """Rows leave for a topic, the feed of a sink, or what is outside of Kafka."""
        match node.operator:
            case Deliver():
                self.source.line(f"deliver({row})")
            case Hand():
                fields = "".join(f"{row}.{name}, " for name in node.schema.names)
                leave(self.source, self.number(node), key, key_of, f"encode((t, {fields}))")
            case Emit(stamped=True):
                leave(self.source, self.number(node), key, key_of, f"encode({row})", f"stamp_{self.number(node)}()")
            case _:
                leave(self.source, self.number(node), key, key_of, f"encode({row})")
