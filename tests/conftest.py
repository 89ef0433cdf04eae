"""Fixtures for all tests: the embedded Kafka, started once, and names that nobody else uses."""

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from streamflow.runtime.embedded.broker import EmbeddedBroker

_numbers = itertools.count()
# Machines are shared: an example that takes long says nothing about the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real Apache Kafka."""
    broker = EmbeddedBroker.start(tmp_path_factory.mktemp("kafka"))
    yield broker.bootstrap
    broker.stop()


@pytest.fixture
def unique() -> str:
    """A name no other test uses."""
    return f"t{uuid.uuid4().hex[:8]}{next(_numbers)}"


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parent.parent
