"""Where a log line was written: the task and the node whose code did it.

Nothing is noted while rows are worked on. Generated code carries `PLACE` in its namespace, so that a line that is being
written finds its node on its own stack, and one with an exception in its traceback; calls that are awaited, timers and
commits note theirs (`at`). What a line says by itself (`extra={"node": …}`) comes first.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging import LogRecord
from types import CodeType, FrameType, TracebackType

#: Name in the namespace of generated code: (code, line) -> `FIELDS` of what stands there.
PLACE = "__streamflow_place__"
Tell = Callable[[CodeType, int], dict[str, str]]
_HERE: ContextVar[dict[str, str] | None] = ContextVar("here", default=None)
#: Fields that say where, and no others.
FIELDS = ("topology", "worker", "task", "node", "table")
#: Of this process, as soon as they are known.
PROCESS: dict[str, str] = {}


@contextmanager
def at(place: dict[str, str]) -> Iterator[None]:
    """Log lines written meanwhile, by this task or thread, belong there."""
    token = _HERE.set(place)
    try:
        yield
    finally:
        _HERE.reset(token)


def place_raised(trace: TracebackType | None) -> dict[str, str]:
    """Task and node of the generated code that an error came through, empty when it came through none."""
    return _first(reversed(list(traceback.walk_tb(trace))))


def place_of(record: LogRecord) -> dict[str, str]:
    """The fields of a line that are known. Call it while the line is being written, in its own thread."""
    raised = place_raised(record.exc_info[2]) if record.exc_info else {}
    found = PROCESS | (_HERE.get() or {}) | (raised or _first(traceback.walk_stack(None)))
    found |= {name: str(record.__dict__[name]) for name in FIELDS if name in record.__dict__}
    return {name: found[name] for name in FIELDS if found.get(name)}


def _first(frames: Iterator[tuple[FrameType, int]]) -> dict[str, str]:
    """What the first frame of generated code tells."""
    for frame, line in frames:
        tell: Tell | None = frame.f_globals.get(PLACE)
        if tell is not None:
            return tell(frame.f_code, line)
    return {}
