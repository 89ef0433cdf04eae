"""What log lines belong to: a topology, and the task that is at work; the trace of a request or row meanwhile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

#: Id of the trace, empty outside of one.
TRACE_ID: ContextVar[str] = ContextVar("trace_id", default="")
#: `topology` of the worker, and `stage` and `partition` of the task at work.
PLACE: ContextVar[Mapping[str, str | int]] = ContextVar("place", default={})  # noqa: B039 — nobody changes it


@contextmanager
def in_trace(trace_id: str) -> Iterator[None]:
    """Log lines written meanwhile, by this task or thread, have the trace's id."""
    token = TRACE_ID.set(trace_id)
    try:
        yield
    finally:
        TRACE_ID.reset(token)
