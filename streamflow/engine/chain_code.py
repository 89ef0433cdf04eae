"""Rows that only other rows are made of are not made: their fields are variables of the generated function.

    fahren ─► doubled ─► high ─► out        v1_value = (e.value * 1.8) + 32
                                            v2_value = v1_value * 2
                                            if v2_value >= 110:
                                                r2 = Row_2(e.sensor, e.ts, v2_value)

A chain begins with a projection, and goes on with projections and filters as long as each has one node below it. Where
it ends the row is made. Nothing but checked expressions runs in between, so nobody can change what is read late.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from streamflow.engine.bounded_value import check, is_bounded
from streamflow.engine.source_code import SourceCode
from streamflow.nodes.operators import Filter, Pass, Project
from streamflow.plan.plan import PlannedNode

#: Operators of a chain.
CHAINED = Project | Filter | Pass


@contextmanager
def chained(code: SourceCode, chain: Sequence[PlannedNode], numbers: Mapping[str, int], row: str) -> Iterator[str]:
    """Statements of a chain whose first node projects `row`; gives the variable of the row that comes out."""
    fields: Mapping[str, str] | None = None
    made = ""
    with ExitStack() as blocks:
        for node in chain:
            number = numbers[node.name]
            blocks.enter_context(code.owned_by(node.name))
            match node.operator:
                case Project() as project:
                    fields, made = _fields(code, node, project, number, row, fields), f"{number}"
                case Filter() as test:
                    blocks.enter_context(code.block(f"if {test.predicate.python(row, fields)}:"))
                    code.line(f"n_{number} += 1")
        assert fields is not None
        code.line(f"r{made} = Row_{made}({', '.join(fields.values())})")
        yield f"r{made}"


def _fields(
    code: SourceCode, node: PlannedNode, project: Project, number: int, row: str, before: Mapping[str, str] | None
) -> dict[str, str]:
    """Python of the fields that a projection gives. What it computes is in variables."""
    fields = {}
    for name, value in zip(node.schema.names, project.values, strict=True):
        text = fields[name] = value.python(row, before)
        if value.source not in value.fields:
            fields[name] = f"v{number}_{name}"
            code.line(f"{fields[name]} = {text}")
            if not is_bounded(value):
                code.line(check(value, fields[name]))
    return fields
