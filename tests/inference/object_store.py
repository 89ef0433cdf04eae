"""A real S3 server with a bucket `shop`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.ports import free_port


class Store:
    """`client`: boto3's, to look and to meddle."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: Any = boto3.client("s3", endpoint_url=self.url)
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()  # all servers of a process have one memory
        self.client.create_bucket(Bucket="shop")

    def files(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket="shop").get("Contents", [])]


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server, and the variables by which its clients find it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "of tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    made = Store()
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    try:
        yield made
    finally:
        made.server.stop()
