"""A client as docs/live.md tells people to write one: it keeps rows by id, and knows nothing of how they are made."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from jsonschema import Draft202012Validator

from streamflow.web.live.message_schema import live_schema
from streamflow.web.server_sent_events import ServerSentEvent, read_events

DEADLINE_S = 60
_SCHEMA = live_schema()


class Checked:
    """Holds messages against what has a name in the schema that is published; of many changes the first ones."""

    def __init__(self, name: str) -> None:
        self._found = Draft202012Validator({**_SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]})

    def check(self, message: dict[str, Any]) -> None:
        """Raises ValidationError."""
        self._found.validate({**message, "changes": message["changes"][:20]} if "changes" in message else message)

    def takes(self, message: dict[str, Any]) -> bool:
        """Whether it fits."""
        return bool(self._found.is_valid(message))


FROM_SERVER, FROM_CLIENT = Checked("FromServer"), Checked("FromClient")
#: Of the data of server-sent events by their kind.
_OF_EVENTS = {kind: Checked(f"Event{kind.capitalize()}") for kind in ("snapshot", "delta", "bye")}


async def until(holds: Callable[[], bool]) -> None:
    """Until something holds that nobody tells of."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


class Mirror:
    """The table as a client sees it: changes by id."""

    def __init__(self) -> None:
        self.changes: dict[str, dict[str, Any]] = {}
        self.final_to: dict[int, int] = {}
        self.reset_count = 0

    def apply(self, body: dict[str, Any]) -> None:
        """A snapshot's page or a delta."""
        for part in body["partitions"]:
            if part.get("reset"):
                self.reset_count += 1
                self._forget(part["partition"], "~")
        for change in body["changes"]:
            if change["rows"]:
                self.changes[change["id"]] = change
            else:
                self.changes.pop(change["id"], None)
        for part in body["partitions"]:
            if "expired_below" in part:
                self._forget(part["partition"], part["expired_below"])
            if "final_to" in part:
                self.final_to[part["partition"]] = part["final_to"]

    def _forget(self, partition: int, below: str) -> None:
        for each in [
            each for each, change in self.changes.items() if change["partition"] == partition and each < below
        ]:
            del self.changes[each]

    def rows(self) -> list[dict[str, Any]]:
        """Rows in the order in which queries answer."""
        found = []
        for _, change in sorted(self.changes.items()):
            final_to = self.final_to.get(change["partition"])
            for row in change["rows"]:
                is_final = row["final"] or (final_to is not None and row["end"] <= final_to)
                found.append({**row, "final": is_final})
        return found


class Following:
    """A client that is connected. `token`: the id of its last event that had one."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.token = ""
        self.kinds: list[str] = []
        self.bye = ""
        self.is_complete = False
        self.ended = asyncio.Event()
        self._moved = asyncio.Event()

    async def read(self, events: AsyncIterator[ServerSentEvent]) -> None:
        """Apply what comes until it ends."""
        try:
            async for event in events:
                self.kinds.append(event.event)
                body = orjson.loads(event.data)
                _OF_EVENTS[event.event].check(body)
                if event.event == "bye":
                    self.bye = body["reason"]
                else:
                    self.mirror.apply(body)
                    self.is_complete |= bool(body.get("complete"))
                    self.token = event.id or self.token
                self._moved.set()
        except httpx.TransportError:
            pass  # the worker is gone
        finally:
            self.ended.set()
            self._moved.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until something holds, looked at whenever an event came."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._moved.clear()
                if not holds():
                    await self._moved.wait()


@asynccontextmanager
async def following(
    url: str, path: str, mirror: Mirror | None = None, token: str = "", **parameters: Any
) -> AsyncIterator[Following]:
    """A client of a live table."""
    headers = {"Last-Event-ID": token} if token else {}
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", url + path, params=parameters, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        found = Following(mirror or Mirror())
        reading = asyncio.create_task(found.read(read_events(answer.aiter_lines())))
        try:
            yield found
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result()
