"""`make fuzz`: requests made up from the OpenAPI document, against a worker on a real Kafka, for SECONDS (120).

Exit code of schemathesis: 0 when no answer was a fault of ours, or other than the document says.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from streamflow.runtime.embedded.broker import EmbeddedBroker
from streamflow.web.api_keys import changing, new_key
from tests.system.test_worker import Product

_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method"
#: They take their time (a profile as long as was asked for, followers until they leave), or the worker from the rest.
_APART = ("profile", "follow_table", "follow_events", "pause", "resume", "stop", "cancel")
#: So that requests come further than to a 404.
_NAMES = """
[parameters]
"path.topology" = "fuzzed"
"path.table" = "totals"
"path.topic" = "fuzzed.sales"
"path.kind" = "window"
"""
_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str?, amount: int}}
  Shop: {{shop: str, size: int?}}
nodes:
  shops:   {{kind: global_table, topic: {name}.shops, schema: Shop, key: shop}}
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 2}}
  sized:   {{kind: lookup, input: sales, table: shops, key: shop, take: {{size: size}}, missing: null}}
  totals:  {{kind: window, input: sized, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count(), total: sum(amount)}}}}
  out:     {{kind: sink, input: totals, topic: {name}.totals}}
  seen:    {{kind: echo, input: sales, table: seen}}
"""


def main() -> int:
    """Start everything, ask, stop."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        broker = EmbeddedBroker.start(place / "kafka")
        product = Product(broker.bootstrap, place, "fuzzed", _TOPOLOGY)
        text, entry = new_key("fuzz", ("admin",), None)
        with changing(place / "keys.json") as file:
            file.keys.append(entry)
        os.environ["STREAMFLOW_API_KEYS_FILE"] = str(place / "keys.json")
        os.environ["STREAMFLOW_WORKER_SECRET"] = "s" * 32
        try:
            product.start(0)
            bearer = f"Authorization: Bearer {text}"
            url = f"http://127.0.0.1:{product.ports[0]}"
            (place / "schemathesis.toml").write_text(_NAMES)
            start = [
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file",
                str(place / "schemathesis.toml"),
            ]
            command = [*start, "run", f"{url}/openapi.json", "-H", bearer]
            command += ["--checks", _CHECKS, "--max-time", os.environ.get("SECONDS", "120"), "--continue-on-failure"]
            command += [part for each in _APART for part in ("--exclude-operation-id", each)]
            done = subprocess.run(command, env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"}).returncode
            assert product.stop(0) == 0, "the worker did not survive it"
            return done
        finally:
            product.kill()
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())
