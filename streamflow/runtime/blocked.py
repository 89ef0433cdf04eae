"""Where the main thread is, or a task, for whoever wonders why a loop does not turn or work does not end."""

import asyncio
import sys
import threading
import traceback
from typing import Any

_FRAMES = 6
#: What a task waits for may be deep inside a library: the place there, and who of ours waits for it.
_DEPTH = 12


def main_thread_is_at() -> str:
    """Its innermost frames as `file:line function`, outermost first; generated code is named by its stage."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "nowhere"
    found = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES, lookup_lines=False)
    return " > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in reversed(found))


def task_is_at(task: "asyncio.Task[Any]") -> str:
    """What a task waits for, as `file:line function`, outermost first, also behind tasks that it waits for itself."""
    found: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(found) < _DEPTH:
        if isinstance(awaited, asyncio.Task):
            awaited = awaited.get_coro()
            continue
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        found.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return " > ".join(found) or "its end"
