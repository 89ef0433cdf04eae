"""Nodes that the tests run: every state, timer and failure, steered by the events."""

from collections.abc import Iterator

from streamflow.kit import List, Map, Process, Row, Time, Timer, Value


class Order(Row):
    t: Time
    k: str
    op: str
    a: int
    b: int
    id: int


class Seen(Row):
    k: str
    id: int
    what: str
    at: Time
    total: int
    notes: list[int]
    tags: list[list[int]]


class Scripted(Process):
    total = Value(int)
    notes = List(int, max_entries=3, full="drop_oldest")
    tags = Map(int, list[int], max_entries=3, ttl="30ms")
    left = Value(int)

    def process(self, row: Order) -> Iterator[Seen]:
        match row.op:
            case "add":
                self.total.set((self.total.get() or 0) + row.a)
            case "note":
                self.notes.append(row.b)
            case "tag":
                self.tags.set(row.a % 5, [row.b])
            case "untag":
                self.tags.delete(row.a % 5)
            case "timer":
                self.timers.set(row.t + row.a, f"n{row.b % 3}")
            case "untimer":
                self.timers.delete(f"n{row.b % 3}")
            case "chain":
                self.left.set(row.b % 4)
                self.timers.set(row.t + row.a, "chain")
            case "clear":
                self.total.clear()
                self.notes.clear()
        yield self._seen(row.id, row.op)
        if row.op == "fail":
            self.total.set(1_000)
            self.notes.append(5)
            self.tags.set(1, [1])
            self.timers.set(row.t + 1, "n0")
            raise ValueError("as told")

    def on_timer(self, timer: Timer) -> Iterator[Seen]:
        left = self.left.get()
        if timer.name == "chain" and left:
            self.left.set(left - 1)
            self.timers.set(timer.time_ms + 7, "chain")
        if timer.name == "n2":
            self.total.set(-1)
            raise ValueError("timers fail too")
        yield self._seen(-1, timer.name)

    def _seen(self, number: int, what: str) -> Seen:
        tags = [[key, *value] for key, value in self.tags.items()]
        return Seen(self.key, number, what, self.time_ms, self.total.get() or 0, list(self.notes), tags)


class Again(Row):
    k: str
    number: int
    at: Time
    what: str


class Behind(Process):
    """Stands behind another node: its rows are that one's, also those of timers."""

    count = Value(int)

    def process(self, row: Seen) -> Again:
        number = (self.count.get() or 0) + 1
        self.count.set(number)
        self.timers.set(self.time_ms + number % 13 - 3, "later")
        return Again(row.k, number, self.time_ms, row.what)

    def on_timer(self, timer: Timer) -> Again:
        return Again(self.key, -(self.count.get() or 0), timer.time_ms, timer.name)


class Polled(Row):
    k: str
    at: Time
    clock: bool
    name: str


class Poll(Process):
    """Clock timers: asks again and again until it is told to stop."""

    rounds = Value(int, ttl="1d")

    def process(self, row: Order) -> None:
        if row.op == "stop":
            self.clock.delete("poll")
        elif row.op == "add":
            self.clock.set_after(row.a, "poll")
            self.timers.set(row.t + 100, "event")

    def on_timer(self, timer: Timer) -> Iterator[Polled]:
        self.rounds.set((self.rounds.get() or 0) + 1)
        if timer.clock:
            self.clock.set_after(1_000, "poll")
        yield Polled(self.key, self.time_ms, timer.clock, timer.name)


def twice(row: Order, times: int = 2) -> Iterator[Order]:
    """A stateless function that gives several rows."""
    if row.op == "fail":
        raise KeyError("function")
    for number in range(times if row.op == "add" else 0):
        yield Order(row.t, row.k, f"copy {number}", row.a, row.b, row.id)
