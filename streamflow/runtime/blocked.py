"""Where the main thread is, for whoever wonders why its loop does not turn."""

import sys
import threading
import traceback

_FRAMES = 6


def main_thread_is_at() -> str:
    """Its innermost frames as `file:line function`, outermost first; generated code is named by its stage."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "nowhere"
    found = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES, lookup_lines=False)
    return " > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in reversed(found))
