"""An independent model of the nodes in nodes.py: plain dictionaries, everything looked up anew, nothing shared."""

import copy
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
TTL = 30


class Failed(Exception):
    """What the nodes raise."""


class Node:
    """Timers and expiry of all keys by brute force: the least of everything that is due, again and again."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.dead = 0

    def fresh(self) -> dict[str, Any]:
        return {"timers": {}, "tags_at": None}

    def call(self, key: str, work: Callable[[dict[str, Any]], list[Any]]) -> list[Any]:
        state = self.keys.get(key, self.fresh())
        tried = copy.deepcopy(state)
        try:
            rows = work(tried)
        except Failed:
            self.dead += 1
            return []
        self.keys[key] = tried
        return rows

    def fire(self, watermark: int, to: Callable[[list[Any]], None]) -> None:
        while True:
            due = [(time, key, 0, name) for key, s in self.keys.items() for name, time in s["timers"].items()]
            due += [(s["tags_at"] + TTL, key, 1, "") for key, s in self.keys.items() if s["tags_at"] is not None]
            if not due or min(due)[0] > watermark:
                return
            time, key, expires, name = min(due)
            if expires:
                self.keys[key] |= {"tags": {}, "tags_at": None}
            else:
                del self.keys[key]["timers"][name]
                to(self.call(key, lambda s, n=name, t=time, k=key: self.on_timer(k, s, n, t)))  # type: ignore[misc]

    def on_timer(self, key: str, s: dict[str, Any], name: str, time: int) -> list[Any]:
        raise NotImplementedError


class Scripted(Node):
    def fresh(self) -> dict[str, Any]:
        return {"total": None, "notes": [], "tags": {}, "left": None, "timers": {}, "tags_at": None}

    def on_row(self, e: Event, s: dict[str, Any]) -> list[Any]:
        op, a, b, t = e["op"], e["a"], e["b"], e["t"]
        if op == "add":
            s["total"] = (s["total"] or 0) + a
        elif op == "note":
            s["notes"] = [*s["notes"], b][-3:]
        elif op == "tag":
            if a % 5 not in s["tags"] and len(s["tags"]) == 3:
                raise Failed
            s["tags"][a % 5] = [b]
            s["tags_at"] = max(s["tags_at"], t) if s["tags_at"] is not None else t
        elif op == "untag" and a % 5 in s["tags"]:
            del s["tags"][a % 5]
            s["tags_at"] = max(s["tags_at"], t) if s["tags"] else None
        elif op == "timer":
            s["timers"][f"n{b % 3}"] = t + a
        elif op == "untimer":
            s["timers"].pop(f"n{b % 3}", None)
        elif op == "chain":
            s["left"] = b % 4
            s["timers"]["chain"] = t + a
        elif op == "clear":
            s |= {"total": None, "notes": []}
        elif op == "fail":
            raise Failed
        return [self.seen(e["k"], s, e["id"], op, t)]

    def on_timer(self, key: str, s: dict[str, Any], name: str, time: int) -> list[Any]:
        if name == "chain" and s["left"]:
            s["left"] -= 1
            s["timers"]["chain"] = time + 7
        if name == "n2":
            raise Failed
        return [self.seen(key, s, -1, name, time)]

    @staticmethod
    def seen(key: str, s: dict[str, Any], number: int, what: str, time: int) -> Event:
        tags = [[tag, *value] for tag, value in sorted(s["tags"].items())]
        row = {"k": key, "id": number, "what": what, "at": time, "total": s["total"] or 0}
        return row | {"notes": list(s["notes"]), "tags": tags}


class Behind(Node):
    def fresh(self) -> dict[str, Any]:
        return {"count": 0, "timers": {}, "tags_at": None}

    def on_row(self, row: Event, s: dict[str, Any]) -> list[Any]:
        s["count"] += 1
        s["timers"]["later"] = row["at"] + s["count"] % 13 - 3
        return [{"k": row["k"], "number": s["count"], "at": row["at"], "what": row["what"]}]

    def on_timer(self, key: str, s: dict[str, Any], name: str, time: int) -> list[Any]:
        return [{"k": key, "number": -s["count"], "at": time, "what": name}]


class Partition:
    """One partition of `scripted → behind`, one event after the other."""

    def __init__(self, delay: int) -> None:
        self.first, self.second = Scripted(), Behind()
        self.out: list[Event] = []
        self.again: list[Event] = []
        self._delay, self._watermark = delay, -(10**18)

    def event(self, e: Event) -> None:
        watermark = max(self._watermark, e["t"] - self._delay)
        if watermark > self._watermark:
            self._watermark = watermark
            self.first.fire(watermark, lambda rows: self._forward(rows, settle=False))
            self.second.fire(watermark, self.again.extend)
        self._forward(self.first.call(e["k"], lambda s: self.first.on_row(e, s)), settle=True)
        self.first.fire(watermark, lambda rows: self._forward(rows, settle=True))

    def _forward(self, rows: list[Event], *, settle: bool) -> None:
        for row in rows:
            self.out.append(row)
            self.again += self.second.call(row["k"], lambda s, r=row: self.second.on_row(r, s))  # type: ignore[misc]
            if settle:
                self.second.fire(self._watermark, self.again.extend)
