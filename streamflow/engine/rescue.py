"""Rows that fail at a node with an output `failed` go on there, and are no dead letters.

try: r3 = Row_3(…)                          costs nothing while nothing fails
except Exception as error:
    rescue(3, error)                        what is no fault of the event goes on up
    …nodes behind `node.failed`, with the row as it came…
else: …nodes behind `node`…
"""

from typing import NoReturn

from streamflow.errors import EventError, Recovery, StreamflowError

#: Of what is kept of an error.
_ERROR_MAX_CHARS = 1_000


def raise_system_faults(error: Exception) -> None:
    """Raise an error again that is no fault of the event at hand."""
    if isinstance(error, MemoryError | RecursionError):
        raise error
    if isinstance(error, StreamflowError) and error.recovery is not Recovery.DEAD_LETTER:
        raise error


def missing_row(node: str, table: str) -> EventError:
    """Why a row is nothing for a lookup: there is none of its key."""
    return EventError("missing_row", f"global table {table!r} has no row of the key at node {node!r}")


class Rescue:
    """Of one task: what went wrong last at each node whose rows go on as failed, as text, by number."""

    def __init__(self) -> None:
        self.said: dict[int, str] = {}

    def __call__(self, number: int, error: Exception) -> None:
        """A row failed at a node and goes on. Raises what is no fault of the event."""
        raise_system_faults(error)
        self.said[number] = f"{type(error).__name__}: {error}"[:_ERROR_MAX_CHARS]

    def nothing_found(self, node: str, table: str) -> NoReturn:
        """Raises that a lookup found nothing for a row."""
        raise missing_row(node, table)
