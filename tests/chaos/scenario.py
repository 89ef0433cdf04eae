"""What a chaos run is about: a topology, its input, and the model that judges what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """make: `count` events of a seed from number `first` on; records: (topic, key, body) of an event.

    closing: (topic, partition, key, body) that push the time of every partition past all events. read: topics of results;
    each row has its topic as `_topic`. table: whose rows are compared with the expected ones, when there is one.
    """

    topology: Path
    read: tuple[str, ...]
    make: Callable[[int, int, int], list[Event]]
    records: Callable[[Event], list[tuple[str, str, Event]]]
    closing: Callable[[list[Event]], list[tuple[str, int, str, Event]]]
    expected: Callable[[list[Event]], Any]
    judge: Callable[[list[Event], Any], Any]
    table: str = ""
