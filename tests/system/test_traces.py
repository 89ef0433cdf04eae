"""A trace from an HTTP request through two stages to the sink, at a real OTLP server."""

import gzip
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streamflow.model.trace_context import TraceContext, sampled_context
from tests.ports import free_port
from tests.system.test_worker import Product, _sale, product

__all__ = ["product"]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                for each in request.resource_spans:
                    taken.resources.append({a.key: a.value.string_value for a in each.resource.attributes})
                    taken.spans += [span for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_parts: Any) -> None:
                """Not to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, *names: str) -> dict[str, Any]:
        """One span of each name."""
        deadline = time.monotonic() + 60
        while not set(names) <= {span.name for span in self.spans}:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.05)
        return {span.name: span for span in self.spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


def test_a_trace_goes_from_the_request_to_the_sink(product: Product, collector: Collector, tmp_path: Path) -> None:
    product.start(0, STREAMFLOW_OTLP_ENDPOINT=collector.url, STREAMFLOW_CLIENT_RACK="zone-a")
    outside = TraceContext.new()
    with product.client() as client:
        path = f"/v1/topics/{product.name}.sales/events"
        client.post(path, json=_sale(1_000), headers={"traceparent": outside.header.decode()})
        untraced = outside.header.decode().removesuffix("1") + "0"
        client.post(path, json=_sale(1_001), headers={"traceparent": untraced})
        client.post(path, json=_sale(1_002))
    spans = collector.wait_for(f"publish {product.name}.sales", "process sales", "process by_city")
    publish, sales, by_city = (
        spans[name] for name in (f"publish {product.name}.sales", "process sales", "process by_city")
    )
    assert {span.trace_id.hex() for span in (publish, sales, by_city)} == {outside.trace_id}
    assert publish.parent_span_id.hex() == outside.span_id
    assert sales.parent_span_id == publish.span_id
    assert by_city.parent_span_id == sales.span_id
    assert publish.start_time_unix_nano <= sales.start_time_unix_nano <= by_city.start_time_unix_nano
    assert sales.start_time_unix_nano < sales.end_time_unix_nano
    assert {"service.name": "streamflow", "streamflow.topology": product.name}.items() <= collector.resources[0].items()
    assert sum(span.name == "process sales" for span in collector.spans) == 1, "only what is sampled"

    headers = _headers(product, f"{product.name}.echoed", 3)
    contexts = [sampled_context(dict(each).get("traceparent")) for each in headers]
    assert sorted(context.span_id for context in contexts if context) == [sales.span_id.hex()]

    with product.client() as client:
        plain, openmetrics = (
            client.get("/metrics", headers={"accept": accept})
            for accept in ("text/plain", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        )
    assert plain.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in plain.text
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    found = re.findall(r'^streamflow_end_to_end_seconds_bucket.* # {trace_id="(\w+)"}', openmetrics.text, re.MULTILINE)
    assert set(found) == {outside.trace_id}, "an example of a latency leads to its trace"


def _headers(product: Product, topic: str, count: int) -> list[Any]:
    import asyncio

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=product.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await consumer.start()
        try:
            return [(await asyncio.wait_for(consumer.getone(), 60)).headers for _ in range(count)]
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_a_collector_that_is_away_changes_nothing(product: Product) -> None:
    product.start(0, STREAMFLOW_OTLP_ENDPOINT="http://127.0.0.1:1/v1/traces", STREAMFLOW_TRACE_RATIO="1")
    answer = product.publish([_sale(1_000 + number) for number in range(200)])
    rows = product.query("totals", after=answer["token"], key="Rome").json()["rows"]
    assert [row["value"]["n"] for row in rows] == [200]
    assert product.stop(0) == 0
