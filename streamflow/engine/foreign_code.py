"""Code of the three parts of a join by foreign key, in a stage's generated module.

Subscribe, Answer    for f, m in j_3.told(k): s3 = …route of f…; s3[1]((s3[0], encode(m), None))
Settle               x4 = j_4.settle(k, Kept_4(t, not e._holds, e._version, k, e._left_amount, …))
                     if x4 is not None: t, m = x4; r4 = Row_4(m.id, m.amount, …, deleted) …
"""

from collections.abc import Callable

from streamflow.engine.source_code import SourceCode
from streamflow.nodes.foreign_operators import HOLDS, VERSION, Settle, side_field


def tell(code: SourceCode, number: int, messages: str) -> None:
    """Send messages, each to the partition of its key; without one to the task's own."""
    with code.block(f"for f, m in {messages}:"):
        code.line(f"s{number} = known_{number}(f)")
        code.line(f"if s{number} is None: s{number} = route_{number}(f)")
        code.line(f"s{number}[1]((s{number}[0], encode(m), None))")
        code.line(f"passed[{number}] += 1")
    code.line(f"j_{number}.check()")


def settle(code: SourceCode, number: int, operator: Settle, row: str, key: str, forward: Callable[[str], None]) -> None:
    """Take an answer; `forward` goes on with a variable of what it brings."""
    values = (key if pick.port is None else f"{row}.{side_field(pick.port, pick.field)}" for pick in operator.picks)
    kept = f"Kept_{number}(t, not {row}.{HOLDS}, {row}.{VERSION}, {', '.join(values)})"
    code.line(f"x{number} = j_{number}.settle({key}, {kept})")
    with code.block(f"if x{number} is not None:"):
        fields = ", ".join(f"m.{name}" for name in operator.row.names)
        code.line(f"t, m = x{number}")
        code.line(f"r{number} = Row_{number}({fields}, not {row}.{HOLDS})")
        code.line(f"passed[{number}] += 1")
        forward(f"r{number}")
