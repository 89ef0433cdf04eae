"""Where the main thread is, or a task, for whoever wonders why a loop does not turn or work does not end."""

import asyncio
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

_FRAMES = 6
#: What a task waits for may be deep inside a library.
_DEPTH = 12
_MADE_UP = re.compile(r"Task-\d+")


def main_thread_is_at() -> str:
    """Its innermost frames as `file:line function`, outermost first; generated code is named by its stage."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "nowhere"
    found = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES, lookup_lines=False)
    return " > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in reversed(found))


def task_is_at(task: "asyncio.Task[Any]") -> str:
    """What a task waits for, as `file:line function`, outermost first; through tasks that it waits for itself, of
    several the first that has not ended."""
    found: list[str] = []
    waited: Any = task
    while waited is not None and len(found) < _DEPTH:
        if isinstance(waited, asyncio.Task):
            found += _frames(waited.get_coro())
            waited = getattr(waited, "_fut_waiter", None)
        else:  # what gathers several has them as children
            waited = next((each for each in getattr(waited, "_children", ()) if not each.done()), None)
    return " > ".join(found) or "its end"


def waiting_tasks(most: int = 1_000) -> list[dict[str, Any]]:
    """Every task of the running loop that has not ended: name, place, and how many there are of one name and place.

    Names that asyncio has made up are left out, so that a thousand calls under way are one entry.
    """
    found: dict[tuple[str, str], int] = {}
    for task in asyncio.all_tasks():
        name = "" if _MADE_UP.fullmatch(task.get_name()) else task.get_name()
        place = name, task_is_at(task)
        found[place] = found.get(place, 0) + 1
    shown = sorted(found.items(), key=lambda each: (-each[1], each[0]))[:most]
    return [{"task": name, "count": count, "at": at} for (name, at), count in shown]


def _frames(awaited: Any) -> Iterator[str]:
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        awaited = awaited.cr_await
