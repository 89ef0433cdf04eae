"""How the generated functions follow event time."""

from collections.abc import Callable

from streamflow.engine.source_code import SourceCode
from streamflow.plan.plan import Entry


def follow_time(code: SourceCode, number: int, entry: Entry, *, told: bool, advanced: Callable[[], None]) -> None:
    """Raise the partition's high time; at a window border the task advances before this event is folded.

    told: the clock is told at once. advanced: writes what follows where the task has advanced.
    """
    tests = ["t > ahead"] * (entry.future is not None) + ["t < behind"] * (entry.past is not None)
    if tests:
        with code.block(f"if {' or '.join(tests)}:"):
            code.line("t = task.far_time(e, t)")
            code.line("if t is None: continue")
    with code.block("if t > high:"):
        code.line(f"clock_{number}.high_ms = high = t" if told else "high = t")
        with code.block(f"if t >= dues[{number}]:"):
            code.line(f"clock_{number}.high_ms = high")
            code.line(f"task.advance({number})")
            code.line("if task.stops_at(e): break")
            advanced()
    if not entry.processing_time:
        code.line("elif t < high: back += 1")
    else:
        code.line("else: t = high")  # a broker's clock may step back; nothing that comes now is late
