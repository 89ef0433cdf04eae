"""Statements of a lookup: a row gets fields of what a global table has under its key."""

from collections.abc import Iterator
from contextlib import contextmanager

from streamflow.engine.source_code import SourceCode
from streamflow.nodes.operators import Lookup, Missing
from streamflow.plan.plan import PlannedNode


def look_up(number: int, node: PlannedNode, operator: Lookup, row: str, *, rescued: bool) -> str:
    """Finds what there is, in `g<number>`. rescued: rows that find nothing are not dead letters, they fail."""
    otherwise = f", absent_{number}" if operator.missing is Missing.NULL else ""
    found = f"find_{number}({operator.key.python(row)}{otherwise})"
    if rescued and operator.missing is Missing.DEAD_LETTER:
        found = f"{found} or rescue.nothing_found({node.name!r}, {operator.table!r})"
    return f"g{number} = {found}"


@contextmanager
def widened(
    code: SourceCode, number: int, node: PlannedNode, operator: Lookup, row: str, root: str, *, rescued: bool
) -> Iterator[None]:
    """A block for a row with the fields of what was found, in `r<number>`."""
    head = f"if g{number} is not None:" if operator.missing is Missing.DROP else "if True:"
    if operator.missing is Missing.DEAD_LETTER and not rescued:
        code.line(f"if g{number} is None: task.missing_row({root}, {node.name!r}, {operator.table!r})")
        head = "else:"
    with code.block(head):
        code.line(f"n_{number} += 1")
        own = node.schema.names[: -len(operator.fields)]
        values = [f"{row}.{name}" for name in own] + [f"g{number}.{name}" for name in operator.fields]
        code.line(f"r{number} = Row_{number}({', '.join(values)})")
        yield
