"""A little writer of Python source that remembers which node each line belongs to.

When generated code raises, the traceback's line number names the node at fault, so that the hot path needs no
bookkeeping to say where an event failed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class SourceCode:
    """Lines of one generated module."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.owner = ""
        self._lines: list[str] = []
        self._owners: list[str] = []
        self._depth = 0

    def line(self, text: str) -> None:
        """Add a line at the current depth, owned by the current owner."""
        self._lines.append("    " * self._depth + text)
        self._owners.append(self.owner)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head` and indent what follows."""
        self.line(head)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    @contextmanager
    def owned_by(self, node: str) -> Iterator[None]:
        """Lines added inside belong to `node`."""
        before, self.owner = self.owner, node
        try:
            yield
        finally:
            self.owner = before

    @property
    def text(self) -> str:
        """The module's source."""
        return "\n".join(self._lines) + "\n"

    def owner_of(self, line: int) -> str:
        """Node that a line belongs to, counted from 1; empty when it belongs to none."""
        return self._owners[line - 1]

    def node_of(self, trace: TracebackType | None) -> str:
        """Node whose line raised: the innermost frame of this module. Empty when none of its lines did."""
        node = ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.filename:
                node = self.owner_of(trace.tb_lineno) or node
            trace = trace.tb_next
        return node


class GuardedLoop:
    """`while True: try: for …: <body>; break; except: task.failed(…)`: the loop goes on after a row that failed."""

    def __init__(self, code: SourceCode, head: str, root: str) -> None:
        self._code, self._head, self._root = code, head, root

    def __enter__(self) -> None:
        code = self._code
        self._blocks = [code.block("while True:"), code.block("try:"), code.block(self._head)]
        for block in self._blocks:
            block.__enter__()

    def __exit__(self, *exc: object) -> None:
        code = self._code
        self._blocks[2].__exit__(None, None, None)
        code.line("break")
        self._blocks[1].__exit__(None, None, None)
        code.line(f"except Exception as error: task.failed({self._root}, error)")
        self._blocks[0].__exit__(None, None, None)
