"""Nodes of the Nexmark queries that have to remember something of their own."""

from collections.abc import Iterator

from streamflow.kit import Process, Row, Time, Timer, Value


class Offer(Row):
    """A bid on an auction that was open."""

    category: int
    expires: Time
    price: int


class Winner(Row):
    """The highest bid of an auction."""

    category: int
    price: int


class WinningBid(Process):
    """Gives the highest bid of an auction, the key, when it has expired."""

    best = Value(Winner)

    def process(self, row: Offer) -> None:
        """Keep it when it is the highest so far."""
        best = self.best.get()
        if best is None:
            # A bid at the very moment counts.
            self.timers.set(row.expires + 1)
        if best is None or row.price > best.price:
            self.best.set(Winner(row.category, row.price))

    def on_timer(self, timer: Timer) -> Iterator[Winner]:
        """No bid can come any more."""
        best = self.best.get()
        if best is not None:
            yield best
            self.best.clear()
