"""What calls to the outside gave, waiting for the rows they were made for to go through the fused code."""

from typing import Any

from streamflow.calls.caller import Answer


class Answers:
    """Of one async node in one task. A row is known by its identity, as it was decoded once and is held meanwhile."""

    def __init__(self) -> None:
        self._by_row: dict[int, Answer] = {}
        self._last = Answer()

    def put(self, row: Any, answer: Answer) -> None:
        """The answer for a row, before the row is processed."""
        self._by_row[id(row)] = answer

    def drop(self, row: Any) -> None:
        """A row will not be asked for."""
        self._by_row.pop(id(row), None)

    def told(self) -> dict[str, Any]:
        """What the bus is told of the answer that was taken last: calls that were made, and what helped."""
        last = self._last
        helped = last.recovered or ("retry" if last.attempts > 1 else "")
        found: dict[str, Any] = {"attempt": max(1, last.attempts)}
        if helped:
            found["recovered"] = helped
        return found | ({"from_cache": True} if last.attempts == 0 else {})

    def take(self, row: Any) -> list[Any]:
        """Rows of a row; called by the fused code. Raises the error that there is instead."""
        self._last = answer = self._by_row.pop(id(row))
        if answer.error is not None:
            raise answer.error
        return answer.rows
