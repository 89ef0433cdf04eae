"""What parking should do, in plain Python: one input, keys apart, nothing but order."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """`part` says whether it can be worked on: by what is known at that moment."""

    number: int
    key: str
    part: str
    attempts: int = 0


@dataclass
class Key:
    """head: number and attempts of the letter that is waited for."""

    head: tuple[int, int] | None = None
    failures: int = 0
    waiting: deque[Event] = field(default_factory=deque)
    done: list[int] = field(default_factory=list)


@dataclass
class Model:
    """known: parts that can be worked on. letters: the event of each, by (number, attempts)."""

    known: set[str]
    max_waiting: int = 1_000
    keys: dict[str, Key] = field(default_factory=dict)
    letters: dict[tuple[int, int], Event] = field(default_factory=dict)
    #: Letters of events that could not wait.
    full: set[tuple[int, int]] = field(default_factory=set)

    def key(self, name: str) -> Key:
        return self.keys.setdefault(name, Key())

    def come(self, event: Event) -> None:
        """An event comes for the first time, or is redriven and nobody waits for it."""
        key = self.key(event.key)
        if key.head is None:
            self._work(event, key)
        elif sum(len(each.waiting) for each in self.keys.values()) < self.max_waiting:
            key.waiting.append(event)
        else:
            self.full.add(self._dead(event))

    def again(self, letter: tuple[int, int], event: Event) -> None:
        """A letter is redriven as this event."""
        holder = next((key for key in self.keys.values() if key.head == letter), None)
        if holder is None:
            self.come(event)
            return
        own = self.key(event.key)
        if own is not holder and own.head is not None:
            own.waiting.append(event)
            self._release(holder)
        elif event.part in self.known:
            own.done.append(event.number)
            self._release(holder)
        else:
            holder.head = self._dead(event)
            holder.failures += 1

    def discard(self, letter: tuple[int, int]) -> None:
        for key in self.keys.values():
            if key.head == letter:
                self._release(key)

    def _release(self, key: Key) -> None:
        key.head = None
        while key.waiting and key.head is None:
            self._work(key.waiting.popleft(), key)
        if key.head is None:
            key.failures = 0

    def _work(self, event: Event, key: Key) -> None:
        if event.part in self.known:
            key.done.append(event.number)
        else:
            key.head = self._dead(event)
            key.failures += 1

    def _dead(self, event: Event) -> tuple[int, int]:
        letter = event.number, event.attempts + 1
        self.letters[letter] = event
        return letter
