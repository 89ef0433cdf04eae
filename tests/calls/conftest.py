"""A server that misbehaves on demand."""

from collections.abc import Iterator

import pytest

from tests.calls.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made
