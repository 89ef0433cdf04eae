"""What `top` makes of two looks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
import pytest

from streamflow.cli.node_statistics import reduction
from streamflow.cli.top import Look, look, summary


def _task(
    partition: int, offset: int, rows: int, state: str = "running", watermark: int | None = 5_000
) -> dict[str, Any]:
    return {
        "stage": "a",
        "partition": partition,
        "state": state,
        "positions": {f"in/{partition}": offset},
        "lag": 7,
        "watermark": watermark,
        "restore": {"ratio": 1.0 if state == "running" else 0.5},
        "nodes": {"n": {"in": rows, "out": rows // 2, "late": 1, "dead": 2, "latency_us": rows / 10 or None}},
    }


def _look(at_s: float, *tasks: tuple[str, dict[str, Any]]) -> Look:
    return Look(at_s, 65_000, "t", {(task["stage"], task["partition"]): (url, task) for url, task in tasks})


def test_rates_are_of_tasks_that_stayed_and_the_rest_is_of_all() -> None:
    before = _look(1.0, ("one", _task(0, 100, 40)), ("one", _task(1, 1_000, 900)), ("two", _task(2, 5, 0)))
    now = _look(3.0, ("one", _task(0, 300, 100)), ("two", _task(1, 5_000, 10)), ("two", _task(2, 5, 0, "restoring")))
    found = summary(before, now)
    assert found["stages"] == [
        {
            "stage": "a",
            "tasks": 3,
            "running": 2,
            "restored": 0.5,
            "records_per_s": 100.0,
            "lag": 21,
            "watermark": 5_000,
            "behind_s": 60.0,
        }
    ]
    rates = {"in_per_s": 30.0, "out_per_s": 15.0, "reduction": 0.5, "latency_us": 10.0}
    assert found["nodes"] == [{"stage": "a", "node": "n", **rates, "late": 2, "dead": 4}]
    assert found["workers"] == [{"worker": "one", "tasks": 1}, {"worker": "two", "tasks": 2}]


def test_a_watermark_is_known_only_when_every_task_tells_one() -> None:
    looks = [_look(at_s, ("one", _task(0, 1, 1)), ("one", _task(1, 1, 1, watermark=None))) for at_s in (1.0, 2.0)]
    assert summary(*looks)["stages"][0]["watermark"] is None


@contextmanager
def _worker(owners: dict[str, str], seen: list[str | None]) -> Iterator[str]:
    """Address of a server that answers as a worker, and keeps what it was told of who asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            body = {"topologies": [{"name": "t"}], "owners": owners, "worker": "", "tasks": []}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(orjson.dumps(body))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("share_key", [False, True])
def test_an_address_that_somebody_announced_gets_the_key_only_when_that_is_said(share_key: bool) -> None:
    told: list[str | None] = []
    announced: list[str | None] = []
    key = {"Authorization": "Bearer sfk_1"}
    with (
        _worker({}, announced) as other,
        _worker({"a/0": other}, told) as url,
        httpx.Client(base_url=url, headers=key) as client,
    ):
        assert look(client, share_key=share_key).silent == []
    assert set(told) == {"Bearer sfk_1"}
    assert announced == ["Bearer sfk_1" if share_key else None]


def test_reduction_is_the_share_that_did_not_go_on() -> None:
    assert [reduction(*rows) for rows in ((0, 0), (10, 5), (10, 10), (10, 25), (3, 0))] == [None, 0.5, 0.0, 0.0, 1.0]
