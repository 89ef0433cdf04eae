"""Exports spans by OpenTelemetry (OTLP over HTTP). The only module that imports it.

Its batch processor has a thread and a queue of 2,048 spans: when the backend is slow or away, spans are lost, never
time.
"""

import random
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamflow.errors import SettingsError
from streamflow.model.trace_context import Span, TraceContext, sampled_context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext

QUEUE_MAX = 2_048
_EXPORT_MS = 1_000
_TIME_OUT_S = 5


class Traces:
    """Of one process. endpoint: where spans go, none when empty. ratio: of requests that begin a trace."""

    def __init__(self, endpoint: str, ratio: float, topology: str, worker: str) -> None:
        self._ratio = ratio
        self._processor = _processor(endpoint) if endpoint else None
        self._resource = {"service.name": "streamflow", "service.instance.id": worker, "streamflow.topology": topology}

    def begin(self, header: bytes | None) -> tuple[TraceContext | None, TraceContext] | None:
        """(parent, own span) of a request with this `traceparent`, None when it is not traced."""
        if self._processor is None:
            return None
        parent = sampled_context(header)
        if parent is not None:
            return parent, TraceContext(parent.trace_id, secrets.token_hex(8))
        if header is None and random.random() < self._ratio:  # noqa: S311 - no secret
            return None, TraceContext.new()
        return None

    def tell(self, spans: Iterable[Span]) -> None:
        """Export spans that end now."""
        if self._processor is None:
            return
        end_ns = time.time_ns()
        for span in spans:
            self._export(self._processor, span, end_ns)

    def stop(self) -> None:
        """Send what waits; takes a time-out of the exporter at most."""
        if self._processor is not None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _export(self, processor: "BatchSpanProcessor", span: Span, end_ns: int) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind

        processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.context),
                None if span.parent is None else _context(span.parent),
                Resource(self._resource),
                span.attributes,
                links=[Link(_context(each)) for each in span.links],
                kind=SpanKind[span.kind],
                start_time=span.start_ns,
                end_time=end_ns,
            )
        )


def _processor(endpoint: str) -> "BatchSpanProcessor":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        message = "STREAMFLOW_OTLP_ENDPOINT needs OpenTelemetry: pip install 'streamflow[tracing]'"
        raise SettingsError(message) from error
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_TIME_OUT_S)
    return BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX, schedule_delay_millis=_EXPORT_MS)


def _context(context: TraceContext) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=False, trace_flags=flags)
