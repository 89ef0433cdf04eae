"""Outputs of a task between two checkpoints: one list per topic and partition, filled by the fused code."""

from collections.abc import Callable, Mapping
from typing import Any

from streamflow.checkpoint.checkpoint import Output
from streamflow.errors import InternalError
from streamflow.model.partitioner import partition_of
from streamflow.state.keys import checked_key_bytes

#: Keys whose bytes and partition are remembered, per output node; beyond it the memory starts over.
MAX_ROUTES = 200_000

#: The append method of a partition's list.
Append = Callable[[Output], None]
#: Key bytes and the append method of the key's partition list.
RouteTo = tuple[bytes | None, Append]


class Outputs:
    """Lists per (topic, partition). They live as long as the task, so that routes may keep their `append`."""

    def __init__(self, partition_counts: Mapping[str, int], own_partition: int) -> None:
        self._counts = partition_counts
        self._own = own_partition
        self._lists: dict[str, list[list[Output]]] = {}
        self._flat: list[list[Output]] = []
        self._topics: list[str] = []

    def lists(self, topic: str) -> list[list[Output]]:
        """One list per partition of the topic. Raises InternalError for a topic whose partition count is not known."""
        found = self._lists.get(topic)
        if found is None:
            if topic not in self._counts:
                raise InternalError(f"partition count of topic {topic!r} is not known")
            found = self._lists[topic] = [[] for _ in range(self._counts[topic])]
            self._flat += found
            self._topics += [topic] * len(found)
        return found

    @property
    def count_of_each(self) -> list[int]:
        """Records waiting, per list, in the order of `each`. Lists that are new are at the end."""
        return list(map(len, self._flat))

    def each(self, number: int) -> tuple[str, list[Output]]:
        """A list, with its topic."""
        return self._topics[number], self._flat[number]

    def append(self, topic: str, output: Output) -> None:
        """Add a record to the partition that belongs to this task (for records without a key of their own)."""
        lists = self.lists(topic)
        lists[self._own % len(lists)].append(output)

    def router(self, topic: str) -> tuple[dict[Any, RouteTo], Callable[[Any], RouteTo]]:
        """(known routes by key value, function that adds one). Rows without a key go to the task's own partition."""
        lists = self.lists(topic)
        routes: dict[Any, RouteTo] = {}

        def route(key: Any) -> RouteTo:
            if len(routes) >= MAX_ROUTES:
                routes.clear()
            if key is None:
                made: RouteTo = (None, lists[self._own % len(lists)].append)
            else:
                data = checked_key_bytes(key)
                made = (data, lists[partition_of(data, len(lists))].append)
            routes[key] = made
            return made

        return routes, route

    def texts(self, topic: str) -> tuple[dict[str, Append], Callable[[str], Append]]:
        """The same of keys that are texts, without their bytes: to make them anew costs less than to fetch them from
        far memory."""
        lists = self.lists(topic)
        known: dict[str, Append] = {}

        def add(key: str) -> Append:
            if len(known) >= MAX_ROUTES:
                known.clear()
            made = known[key] = lists[partition_of(checked_key_bytes(key), len(lists))].append
            return made

        return known, add

    def take(self) -> dict[tuple[str, int], list[Output]]:
        """Everything gathered since the last call; empty lists are left out."""
        taken: dict[tuple[str, int], list[Output]] = {}
        for topic, lists in self._lists.items():
            for partition, records in enumerate(lists):
                if records:
                    taken[topic, partition] = records[:]
                    records.clear()
        return taken

    @property
    def count(self) -> int:
        """Records waiting."""
        return sum(len(records) for lists in self._lists.values() for records in lists)
