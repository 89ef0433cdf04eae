"""Own aggregates that the tests' topologies call."""

from collections.abc import Iterator

import pytest

from streamflow.windows.aggregates import catalogue
from streamflow.windows.aggregates.own import Registry
from tests.windows.own_aggregates import Spread, Words


@pytest.fixture(autouse=True)
def own_aggregates() -> Iterator[Registry]:
    """A registry of their own, so that other tests do not know them."""
    before, catalogue._own = catalogue._own, Registry()
    catalogue.register(Spread)
    catalogue.register(Words)
    yield catalogue._own
    catalogue._own = before
