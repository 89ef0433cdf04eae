"""Log lines know the trace and the task that they belong to."""

import asyncio
import json
import logging
from typing import Any

from streamflow.logs.setup import JsonFormatter
from streamflow.logs.trace import PLACE, in_trace


def _line() -> dict[str, Any]:
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


def test_lines_of_a_task_say_where_they_come_from() -> None:
    async def work() -> dict[str, Any]:
        PLACE.set({"topology": "shop", "stage": "orders", "partition": 3})
        return _line()

    async def main() -> dict[str, Any]:
        return await asyncio.create_task(work())

    line = asyncio.run(main())
    assert (line["topology"], line["stage"], line["partition"]) == ("shop", "orders", 3)
    assert "topology" not in _line()
