"""Fixtures for all tests: the embedded Kafka, started once, and names that nobody else uses."""

import itertools
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from streamflow.runtime.embedded.broker import EmbeddedBroker

_numbers = itertools.count()
# Machines are shared: an example that takes long says nothing about the code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


class _OneHasKafka(LoadScopeScheduling):  # type: ignore[misc]
    """How processes share the tests: one has every file with tests that need a Kafka, so that there is one broker, and
    its tests do not slow each other down; the others take the rest, file by file.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "kafka" if _needs_kafka(self.config.rootpath / file) else file


@cache
def _needs_kafka(file: Path) -> bool:
    return "pytest.mark.kafka" in file.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # it would begin with the file that has most tests
    return _OneHasKafka(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # shared: what takes longest is begun first
        items.sort(key=lambda item: not _needs_kafka(item.path))


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
