"""A control plane per module that asks for one."""

from collections.abc import Iterator

import pytest

from tests.k8s.control_plane import ControlPlane


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
