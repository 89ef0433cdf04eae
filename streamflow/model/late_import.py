"""Libraries that take long to import, and that few topologies need: no command and no worker waits for the others'.

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")
"""

from importlib import import_module
from typing import Any


class LateImport:
    """Stands for a library, which is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


def load(library: LateImport) -> None:
    """Import it now, so that no event waits for it later."""
    import_module(library._name)
