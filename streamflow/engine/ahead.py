"""Models are asked for a whole slice at once, before its rows are worked through one by one.

    ahead_0_3(rows)     for e in rows: …filter, project, look up… m_3.gather((inputs), k)     then one call
    entry_0(rows)       for e in rows: … x3 = m_3.score((inputs), k) …                      finds the answer, or asks

What lies between an entry and a model is walked twice, so it must do nothing but compute: filter, project, switch, look
up, unfold, rekey, ask other models. Behind anything else (a window, a person's code, a join) rows are scored as they
come. Either way the row's own turn decides what becomes of it, so a slice's length and order change nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamflow.engine.bounded_value import bounded
from streamflow.engine.source_code import SourceCode
from streamflow.inference.answers import fields_of
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Filter, Lookup, Missing, Output, Pass, Project, Rekey, Score, Switch, Unfold
from streamflow.plan.plan import PlannedNode, Stage

#: Nodes between an entry and a model that are walked twice; their statements stand within each other's.
_PATH_MAX = 24
_COMPUTES = Pass | Filter | Project | Switch | Output | Lookup | Unfold | Rekey | Score


def inputs_code(operator: Score, row: str) -> str:
    """Python of a model's inputs as a tuple that can be hashed."""
    values = (each.python(row) for each in operator.inputs)
    typed = zip(values, operator.inputs, strict=True)
    return f"({''.join((f'as_list({v})' if each.type is FieldType.JSON else v) + ', ' for v, each in typed)})"


def score_line(number: int, operator: Score, row: str, key: str) -> str:
    """Asks a model about a row; what it gives is in `x<number>`."""
    return f"x{number} = m_{number}.score({inputs_code(operator, row)}, {key})"


@contextmanager
def scored(code: SourceCode, number: int, node: PlannedNode, operator: Score, row: str) -> Iterator[None]:
    """A block for a row with what its model gave for it, in `r<number>`."""
    own = node.schema.names[: -added_count(operator)]
    with code.block(f"if x{number} is not None:"):
        code.line(f"r{number} = Row_{number}({''.join(f'{row}.{name}, ' for name in own)}*x{number})")
        yield


def added_count(operator: Score) -> int:
    """How many fields it adds."""
    return len(fields_of(operator.task, operator.top_k, "")) * (2 if operator.shadow else 1)


class AheadCode:
    """Writes the functions of a stage into its module."""

    def __init__(self, stage: Stage, code: SourceCode, number: Callable[[PlannedNode], int]) -> None:
        self._stage, self._code, self._number = stage, code, number
        self._by_name = {node.name: node for node in stage.nodes}
        self._models = [node for node in stage.nodes if isinstance(node.operator, Score)]

    def generate(self) -> tuple[tuple[str, ...], ...]:
        """Names of the functions per entry, each model behind those that it may build on."""
        found = []
        for place, entry in enumerate(self._stage.entries):
            names, paths = [], self._paths(entry.node) if self._models else {}
            for node in self._models:
                path = paths.get(node.name)
                if path:
                    names.append(f"ahead_{place}_{self._number(node)}")
                    key = entry.key.python("e") if entry.key else "None"
                    self._function(names[-1], entry.node, node, path, key)
            found.append(tuple(names))
        return tuple(found)

    def _paths(self, entry: str) -> dict[str, set[str]]:
        """For each node that can be computed ahead the names of the nodes between an entry and it, itself included."""
        found: dict[str, set[str]] = {}
        for node in self._stage.nodes:  # in topological order
            path = {node.name} if entry in node.inputs else set()
            for before in node.inputs:
                parent = self._by_name.get(before)
                if before in found and parent and isinstance(parent.operator, _COMPUTES):
                    path |= set() if parent.repartition_topic else found[before]
            if path and len(path) < _PATH_MAX:
                found[node.name] = path | {node.name}
        return found

    def _function(self, name: str, entry: str, target: PlannedNode, path: set[str], key: str) -> None:
        code = self._code
        with code.owned_by(target.name), code.block(f"def {name}(rows):"):
            with code.block("for e in rows:"):
                with code.block("try:"):
                    code.line(f"k = {key}")
                    self._below(entry, target, path, "e", "k")
                code.line("except Exception: continue  # the row's own turn tells")
            code.line(f"m_{self._number(target)}.score_gathered()")

    def _below(self, name: str, target: PlannedNode, path: set[str], row: str, key: str) -> None:
        for node in self._stage.nodes:
            if node.name in path and name in node.inputs:
                self._statements(node, target, path, row, key)

    def _statements(self, node: PlannedNode, target: PlannedNode, path: set[str], row: str, key: str) -> None:
        code, number, operator = self._code, self._number(node), node.operator
        match operator:
            case Score() if node is target:
                code.line(f"m_{number}.gather({inputs_code(operator, row)}, {key})")
            case Score():
                code.line(score_line(number, operator, row, key))
                with scored(code, number, node, operator, row):
                    self._below(node.name, target, path, f"r{number}", key)
            case Filter():
                with code.block(f"if {operator.predicate.python(row)}:"):
                    self._below(node.name, target, path, row, key)
            case Switch():
                self._switch(node, operator, target, path, row, key)
            case Project():
                values = ", ".join(bounded(value, row) for value in operator.values)
                code.line(f"r{number} = Row_{number}({values})")
                self._below(node.name, target, path, f"r{number}", key)
            case Lookup():
                self._lookup(node, operator, target, path, row, key)
            case Unfold():
                names = [f"{row}.{name}" for name in operator.keep]
                names += ["v"] if operator.plain else [f"v.{name}" for name in operator.element.names]
                names += ["i"] if operator.position is not None else []
                with code.block(f"for i, v in enumerate(f_{number}({operator.elements.python(row)})):"):
                    code.line(f"r{number} = Row_{number}({', '.join(names)})")
                    self._below(node.name, target, path, f"r{number}", key)
            case Rekey():
                code.line(f"k{number} = {operator.key.python(row)}")
                with code.block(f"if k{number} is not None:"):
                    self._below(node.name, target, path, row, f"k{number}")
            case _:
                self._below(node.name, target, path, row, key)

    def _switch(
        self, node: PlannedNode, operator: Switch, target: PlannedNode, path: set[str], row: str, key: str
    ) -> None:
        word = "if"
        for name, predicate in operator.cases:
            with self._code.block("else:" if predicate is None else f"{word} {predicate.python(row)}:"):
                self._code.line("pass")
                if name in path:
                    self._below(name, target, path, row, key)
            word = "elif"

    def _lookup(
        self, node: PlannedNode, operator: Lookup, target: PlannedNode, path: set[str], row: str, key: str
    ) -> None:
        code, number = self._code, self._number(node)
        otherwise = f", absent_{number}" if operator.missing is Missing.NULL else ""
        code.line(f"g{number} = rows_{number}.get({operator.key.python(row)}{otherwise})")
        with code.block(f"if g{number} is not None:"):
            own = node.schema.names[: -len(operator.fields)]
            values = [f"{row}.{name}" for name in own] + [f"g{number}.{name}" for name in operator.fields]
            code.line(f"r{number} = Row_{number}({', '.join(values)})")
            self._below(node.name, target, path, f"r{number}", key)
