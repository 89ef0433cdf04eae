"""A program that tells of every row at every node, in the code that looks at executions too (engine/fusion.py)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import CodeType
from typing import Any

from streamflow.engine.program import Program

#: A row comes to a node: (stage, node, the node before, row). It may take its time: the task waits.
Watch = Callable[[str, str, str, Any], None]


@dataclass(frozen=True, slots=True)
class WatchedProgram(Program):
    """See the module. `usual`: the code without, for what runs before the rows do."""

    usual: CodeType
    watch: Watch

    def bind(self, names: dict[str, Any], code: CodeType | None = None) -> dict[str, Any]:
        """As Program."""
        nodes = {number: name for name, number in self.numbers.items()}

        def walk(number: int, before: str, row: Any) -> None:
            self.watch(self.stage.name, nodes[number], before, row)

        bound = Program.bind(self, {"walk": walk, **names}, code)
        for name, value in Program.bind(self, names, self.usual).items():
            bound.setdefault(name, value)
        return bound  # the namespace of the code itself: the task puts more into it


def watched(program: Program, watch: Watch) -> Program:
    """The program, with somebody who watches."""
    source, code = program.probed()
    usual = {each.name: getattr(program, each.name) for each in fields(program)}
    return WatchedProgram(**{**usual, "source": source, "code": code}, usual=program.code, watch=watch)
