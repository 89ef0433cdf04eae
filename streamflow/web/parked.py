"""How many events wait behind dead letters: asked of the workers that have their keys."""

from collections.abc import Sequence
from typing import Any

import orjson

from streamflow.model.letter import OPEN, Letter
from streamflow.model.parking import Place
from streamflow.model.redrive import parked_place
from streamflow.plan.plan import Stage, TablePlan
from streamflow.query.request import LIMIT_MAX, RowState, TableQuery, decode_cursor
from streamflow.web.ports import Service
from streamflow.web.problems import Refusal
from streamflow.web.tables import Gather

#: Parked keys by input, partition and offset of what they wait behind: how many events wait.
Waiting = dict[tuple[str, int, int], int]


class ParkedKeys:
    """The parked keys of the topology, on whatever worker they are."""

    def __init__(self, service: Service) -> None:
        self._gather = Gather(service)
        self._tables: dict[str, tuple[Stage, TablePlan]] = {}
        for stage in service.plan.stages:
            names = {entry.parks.table for entry in stage.entries if entry.parks is not None}
            self._tables |= {table.node: (stage, table) for table in stage.tables if table.name in names}

    async def views(self, letters: Sequence[Letter], *, whole: bool = False) -> list[dict[str, Any]]:
        """The letters, each with `parked`: input and events that wait behind it; None when no key does. The number is
        None when the worker that has the key does not say it.
        """
        places = [self._place(letter) for letter in letters]
        wanted: dict[str, dict[int, set[bytes]]] = {}
        for found in places:
            if found is not None:
                place, partition = found
                wanted.setdefault(place.node, {}).setdefault(partition, set()).add(place.key)
        known: Waiting = {}
        silent: set[str] = set()
        for node, keys in wanted.items():
            try:
                known |= await self._waiting(node, keys)
            except Refusal:
                silent.add(node)
        views = []
        for letter, found in zip(letters, places, strict=True):
            view = letter.view(whole=whole) | {"parked": None}
            if found is not None:
                place, partition = found
                count = known.get((place.node, partition, place.offset))
                if count is not None or place.node in silent:
                    view["parked"] = {"input": place.node, "waiting": count}
            views.append(view)
        return views

    def _place(self, letter: Letter) -> tuple[Place, int] | None:
        place = parked_place(letter)
        if place is None or letter.source is None or letter.state not in OPEN or place.node not in self._tables:
            return None
        return place, letter.source[1]

    async def _waiting(self, node: str, keys: dict[int, set[bytes]]) -> Waiting:
        """Of one key its row, else all rows of the partitions. Raises Refusal."""
        stage, table = self._tables[node]
        each = {key for found in keys.values() for key in found}
        one = each.pop() if len(each) == 1 else None
        known: Waiting = {}
        for partition in sorted(keys):
            after: bytes | None = None
            while True:
                query = TableQuery(one, None, None, RowState.LATEST, LIMIT_MAX, after)
                answer = await self._gather.answer(stage, table, query, [partition], {})
                body = orjson.loads(answer.body)
                for row in body["rows"]:
                    value = row["value"]
                    if value["offset"] is not None:
                        known[node, partition, value["offset"]] = value["waiting"]
                if body.get("cursor") is None:
                    break
                after = decode_cursor(body["cursor"])
        return known
