"""A sampling profiler: where the processor time of this process goes, by thread, function and node.

A thread of its own looks at the stacks of all others and charges each with the processor time that it has used since
the look before (Linux' schedstat): what waits costs nothing. Looks happen where the interpreter lets another thread
run, so a long call into C shows at its line or at the next one. docs/decisions/0036-profile-and-top.md.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

from streamflow.engine.source_code import SourceCode
from streamflow.errors import UserError

INTERVAL_S = 0.01
STACKS_MAX = 20_000
FRAMES_MAX = 128
#: Where stacks are summed that came after STACKS_MAX.
OTHERS = ("(other stacks)",)
_K = TypeVar("_K")


@dataclass
class Profile:
    """What was seen. Times are processor time in ns.

    stacks: by frames, the outermost first. nodes: by (stage, node), what ran in the code of the node or was called by
    it. native_ns: what threads without Python used.
    """

    seconds: float = 0.0
    looks: int = 0
    threads: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    stacks: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))
    nodes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    native_ns: int = 0


class Profiler:
    """Looks at this process. sources: generated modules by stage."""

    def __init__(self, sources: Mapping[str, SourceCode]) -> None:
        self._sources = {source.filename: (stage, source) for stage, source in sources.items()}
        self._labels: dict[CodeType, str] = {}

    def watch(self, seconds: float) -> Profile:
        """Look for some seconds; blocks the calling thread. Raises UserError where threads' times are not told."""
        profile, me = Profile(), threading.get_ident()
        used = _times_ns(me)
        if not used:
            raise UserError("profiles need Linux: /proc/self/task/*/schedstat tells the time of a thread")
        began, process_ns = time.monotonic(), time.process_time_ns()
        own_ns = time.thread_time_ns()
        while time.monotonic() - began < seconds:
            time.sleep(INTERVAL_S)
            used = self._look(profile, used, me)
        profile.seconds = time.monotonic() - began
        process_ns = time.process_time_ns() - process_ns - (time.thread_time_ns() - own_ns)
        profile.native_ns = max(0, process_ns - sum(profile.threads.values()))
        return profile

    def _look(self, profile: Profile, before: dict[int, int], me: int) -> dict[int, int]:
        frames, now = sys._current_frames(), _times_ns(me)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        profile.looks += 1
        for thread, total_ns in now.items():
            spent_ns = total_ns - before.get(thread, total_ns)
            if spent_ns and thread in frames:
                profile.threads[names.get(thread, "?")] += spent_ns
                self._charge(profile, frames[thread], names.get(thread, "?"), spent_ns)
        return now

    def _charge(self, profile: Profile, frame: FrameType | None, thread: str, spent_ns: int) -> None:
        stack: list[str] = []
        node: tuple[str, str] | None = None
        while frame is not None and len(stack) < FRAMES_MAX:
            source = self._sources.get(frame.f_code.co_filename)
            if source is None:
                stack.append(self._label(frame.f_code))
            else:
                stage, module = source
                name = module.owner_of(frame.f_lineno)
                stack.append(f"node {name or '(of no node)'} in stage {stage}")
                node = node or (stage, name)
            frame = frame.f_back
        stack.append(f"thread {thread}")
        if node is not None:
            profile.nodes[node] += spent_ns
        key = tuple(reversed(stack))
        if key not in profile.stacks and len(profile.stacks) >= STACKS_MAX:
            key = OTHERS
        profile.stacks[key] += spent_ns

    def _label(self, code: CodeType) -> str:
        label = self._labels.get(code)
        if label is None:
            label = self._labels[code] = f"{code.co_qualname} ({_short(code.co_filename)}:{code.co_firstlineno})"
        return label


def shown(profile: Profile) -> dict[str, Any]:
    """The profile as JSON: times in µs, the largest first; stacks by the numbers of their frames."""
    frames: dict[str, int] = {}
    stacks = [
        {"frames": [frames.setdefault(frame, len(frames)) for frame in stack], "us": spent // 1_000}
        for stack, spent in _largest(profile.stacks)
    ]
    return {
        "seconds": round(profile.seconds, 3),
        "looks": profile.looks,
        "threads": [{"thread": name, "us": spent // 1_000} for name, spent in _largest(profile.threads)],
        "native_us": profile.native_ns // 1_000,
        "nodes": [
            {"stage": stage, "node": node, "us": spent // 1_000} for (stage, node), spent in _largest(profile.nodes)
        ],
        "frames": list(frames),
        "stacks": stacks,
    }


def _largest(times: Mapping[_K, int]) -> list[tuple[_K, int]]:
    return sorted(times.items(), key=lambda item: -item[1])


def _times_ns(me: int) -> dict[int, int]:
    """Processor time of every Python thread but `me`, by its ident."""
    found = {}
    for thread in threading.enumerate():
        if thread.ident is None or thread.ident == me:
            continue
        try:
            text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
        except OSError:
            continue  # it has ended meanwhile
        found[thread.ident] = int(text.split()[0])
    return found


def _short(path: str) -> str:
    """A module's path from its package on: what lies before says nothing and is different on every machine."""
    for mark in ("/site-packages/", "/streamflow/streamflow/"):
        if mark in path:
            return path.rpartition(mark)[2]
    return "/".join(path.split("/")[-2:])
