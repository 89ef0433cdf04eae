"""Writers that race over HTTP on a real Kafka, through workers that are killed: no write is lost, none done twice."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas: {{Write: {{account: str, n: int, by: str, seen: int?}}}}
nodes:
  writes:   {{kind: source, topic: {name}.writes, schema: Write, key: account, partitions: 2}}
  accounts: {{kind: accept, input: writes, expected: seen}}
  taken:    {{kind: sink, input: accounts.accepted, topic: {name}.taken}}
"""
_ACCOUNTS, _WRITERS, _TIMES = ("a", "b"), 3, 4


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


class _Writer:
    """Adds one to accounts: looks, writes in view of what it saw, and sends what was not answered again."""

    def __init__(self, product: Product, number: int) -> None:
        self._product, self._name = product, f"writer-{number}"
        self._requests, self._turns = count(), count(number)

    def add_one(self, account: str) -> None:
        deadline = time.monotonic() + 120
        while True:
            seen = self._ask("GET", f"/v1/topologies/{self._product.name}/tables/accounts?key={account}", deadline)
            rows, etag = seen.json()["rows"], seen.headers["etag"]
            value = rows[0]["value"]["row"]["n"] if rows else 0
            body = json.dumps({"account": account, "n": value + 1, "by": self._name})
            named = f"{self._name}-{next(self._requests)}"
            headers = {"If-Match": etag, "Idempotency-Key": named}
            path = f"/v1/topics/{self._product.name}.writes/events?timeout_ms=2000"
            answer = self._ask("POST", path, deadline, body, headers)
            if answer.status_code == 200:
                assert answer.headers["etag"] == f'"{int(etag.strip(chr(34))) + 1}"'
                return
            assert answer.status_code == 412, answer.text

    def _ask(
        self, method: str, path: str, deadline: float, body: str = "", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        while True:
            try:
                with self._product.client(next(self._turns) % 2) as client:
                    answer = client.request(method, path, content=body, headers=headers)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code in (200, 412):
                    return answer
                said = answer.text
            assert time.monotonic() < deadline, said
            time.sleep(0.1)


def test_no_write_is_lost_or_done_twice(product: Product) -> None:
    product.launch(0)
    product.launch(1)
    product.wait_ready(0)
    product.wait_ready(1)
    writers = [_Writer(product, number) for number in range(_WRITERS)]
    begun = threading.Barrier(_WRITERS + 1, timeout=120)

    def write(writer: _Writer) -> None:
        for time_number in range(_TIMES):
            for account in _ACCOUNTS:
                writer.add_one(account)
            if time_number == 1:
                begun.wait()

    with ThreadPoolExecutor(_WRITERS) as threads:
        working = [threads.submit(write, writer) for writer in writers]
        begun.wait()
        assert product.stop(1, signal.SIGKILL) == -signal.SIGKILL
        product.start(1)
        for each in working:
            each.result()
    total = _WRITERS * _TIMES
    for account in _ACCOUNTS:
        (row,) = product.query("accounts", key=account).json()["rows"]
        assert (row["value"]["row_version"], row["value"]["row"]["n"]) == (total, total)

    def create(number: int) -> httpx.Response:
        with product.client(number % 2) as client:
            path, event = f"/v1/topics/{product.name}.writes/events", {"account": "c", "n": number, "by": "x"}
            return client.post(path, json=event, headers={"If-None-Match": "*"}, params={"timeout_ms": 30_000})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7, "exactly one wins"
    assert {answer.headers["etag"] for answer in answers} == {'"1"'}
