"""Log lines know the trace that they belong to."""

import asyncio
import json
import logging

from streamflow.logs.setup import JsonFormatter
from streamflow.logs.trace import in_trace


def _line() -> dict[str, str]:
    record = logging.LogRecord("streamflow.x", logging.INFO, "x.py", 1, "said", None, None)
    return dict(json.loads(JsonFormatter().format(record)))


def test_lines_of_a_trace_have_its_id_and_no_others_do() -> None:
    async def request(trace_id: str) -> tuple[str, str | None]:
        with in_trace(trace_id):
            await asyncio.sleep(0)
            inside = _line()["trace_id"]
        return inside, _line().get("trace_id")

    async def both() -> list[tuple[str, str | None]]:
        return list(await asyncio.gather(request("a"), request("b")))

    assert "trace_id" not in _line()
    assert asyncio.run(both()) == [("a", None), ("b", None)]
    assert set(_line()) == {"time", "level", "logger", "message"}
