"""Traces of HTTP publishes: the context of a request goes on in the headers of its records."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from streamflow.logs.trace import in_trace
from streamflow.model.trace_context import TRACEPARENT, Span
from streamflow.web.ports import Service

Headers = list[tuple[str, bytes]]


@contextmanager
def traced(service: Service, request: Request, topic: str) -> Iterator[Headers]:
    """Headers for what is published meanwhile, none when the request is not traced; its span ends behind it."""
    header = request.headers.get(TRACEPARENT)
    found = service.traces.begin(None if header is None else header.encode("latin-1"))
    if found is None:
        yield []
        return
    parent, context = found
    told = {"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": topic}
    span = Span(f"publish {topic}", context, time.time_ns(), parent, "PRODUCER", told)
    try:
        with in_trace(context.trace_id):
            yield [(TRACEPARENT, context.header)]
    except Exception as error:
        told["error.type"] = type(error).__name__
        raise
    finally:
        service.traces.tell([span])
