"""The trace that log lines belong to: of a traced request or row, while it is worked on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Id of the trace, empty outside of one.
TRACE_ID: ContextVar[str] = ContextVar("trace_id", default="")


@contextmanager
def in_trace(trace_id: str) -> Iterator[None]:
    """Log lines written meanwhile, by this task or thread, have the trace's id."""
    token = TRACE_ID.set(trace_id)
    try:
        yield
    finally:
        TRACE_ID.reset(token)
