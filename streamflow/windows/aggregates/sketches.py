"""The door of Apache DataSketches and numpy, which take 0.1 s to load: no command waits for them that does not count.

An aggregate that may need a sketch loads them when it is declared, so that no event waits either.
"""

from functools import cache
from typing import Any


@cache
def datasketches() -> Any:
    """The library."""
    import datasketches as library

    return library


@cache
def numpy() -> Any:
    """The library."""
    import numpy as library

    return library
