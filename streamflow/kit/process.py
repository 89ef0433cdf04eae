"""The base of nodes with memory and timers.

    class Silent(Row):
        sensor: str
        since: Time

    class Silence(Process):
        "Tells when a sensor has said nothing for some minutes."

        last = Value(int)

        def __init__(self, minutes: int = 10) -> None:
            self.limit_ms = minutes * 60_000

        def process(self, row: Reading) -> None:
            self.last.set(row.time)
            self.timers.set(row.time + self.limit_ms, "silence")

        def on_timer(self, timer: Timer) -> Iterator[Silent]:
            yield Silent(self.key, self.last.get() or 0)

Life: made once per task with the topology's `with` as arguments, `open`, then calls for one key at a time, `close`.
What must survive a crash belongs into states; attributes of the node do not survive.
"""

from typing import Any, ClassVar, Self

from streamflow.errors import EventError
from streamflow.kit.keystate import Current
from streamflow.kit.states import State
from streamflow.kit.timers import ClockTimers, Timer, Timers


class Process:
    """See the module. A call is atomic: when it raises, what it wrote is undone and its row is a dead letter."""

    #: Raise it when what is kept means something else now: state of another version is refused.
    version: ClassVar[int] = 1
    #: What a task's node holds outside of its states, in bytes, such as a dictionary; deployments ask for it.
    memory_bytes: ClassVar[int] = 0
    #: Whether event-time timers beyond the data fire at the end of a bounded run.
    fires_at_end: ClassVar[bool] = True

    timers: Timers
    clock: ClockTimers
    current: Current

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Give every node states and timers of its own, so that `__init__` is all the subclass's."""
        node = super().__new__(cls)
        node.current = current = Current()
        node.timers, node.clock = Timers(current), ClockTimers(current)
        for number, state in enumerate(states_of(cls)):
            setattr(node, state.name, state.bound(number, current))
        return node

    @property
    def key(self) -> Any:
        """Key of the row or timer at hand: str or int."""
        self.current.entered()
        return self.current.key

    @property
    def time_ms(self) -> int:
        """Event time of the row or timer at hand, in ms."""
        self.current.entered()
        return self.current.time_ms

    @property
    def watermark_ms(self) -> int:
        """Event time up to which all has been seen; below every time before the first event, and while windows before
        this node are being closed, whose rows are never late here."""
        self.current.entered()
        return self.current.watermark()

    def open(self) -> None:
        """Called once before the first row; states are not at hand here."""

    def process(self, row: Any) -> Any:
        """Work on a row. Gives rows of one row class: None, one, or an iterable (a generator is fine)."""
        raise NotImplementedError

    def on_timer(self, timer: Timer) -> Any:
        """Work on a timer that fires; gives rows as `process` does."""
        raise EventError("process", f"timer {timer.name!r} fired, but {type(self).__name__} has no on_timer")

    def close(self) -> None:
        """Called once at the end, also after an `open` that failed, but not in a crash."""


def states_of(node: type[Process]) -> tuple[State, ...]:
    """Declared states, those of base classes first, in the order of their declaration."""
    found: dict[str, State] = {}
    for base in reversed(node.__mro__):
        found |= {name: each for name, each in vars(base).items() if isinstance(each, State)}
    return tuple(found.values())
