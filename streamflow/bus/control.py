"""What was ordered of a topology, and who has obeyed: the control topic, read from its beginning, as one value.

    key               value
    order             Order: the last one, whole; each has the next version
    task/<stage>/<p>  Obeyed: the version that this task has obeyed last

    wish     the topology is …             until every task has obeyed it
    run      running
    pause    paused                        running
    stop     completed                     running (what was taken in is worked off)
    cancel   cancelled                     running

So a state is said only when it is true of all tasks, on all workers. Tasks obey `run` without telling. A topic that is
empty says `run`, version 0. The topic is compacted: the last order and the last word of each task are all there is to
know. Pure: nothing here reads, writes or looks at a clock.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streamflow.bus.states import State, moved
from streamflow.errors import IllegalMove

ORDER_KEY = b"order"
#: Bounds of what an order carries, in characters.
ACTOR_MAX_CHARS, REASON_MAX_CHARS = 200, 2_000


class Wish(StrEnum):
    """What a topology is to do."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    CANCEL = "cancel"


#: What each wish leads to, and what it goes through: a paused topology that is stopped works off what it took in.
_PATHS: Mapping[Wish, tuple[State, ...]] = {
    Wish.RUN: (State.RUNNING,),
    Wish.PAUSE: (State.PAUSED,),
    Wish.STOP: (State.RUNNING, State.COMPLETED),
    Wish.CANCEL: (State.CANCELLED,),
}


class Order(msgspec.Struct, frozen=True):
    """An order: who gave it, why, when (ms), through which worker. `run` counts the runs of the topology, from 1."""

    version: int = 0
    run: int = 1
    wish: Wish = Wish.RUN
    actor: str = ""
    reason: str = ""
    at_ms: int = 0
    worker: str = ""


class Obeyed(msgspec.Struct, frozen=True):
    """A task has obeyed the order of that version, and committed what it had done. committed: digest of it."""

    version: int
    worker: str
    at_ms: int
    committed: str = ""


_ORDER, _OBEYED = msgspec.json.Decoder(Order), msgspec.json.Decoder(Obeyed)


class Control:
    """The control topic of one topology as far as it was read. `partitions`: tasks of each stage."""

    def __init__(self, topology: str, partitions: Mapping[str, int]) -> None:
        self._topology, self._partitions = topology, dict(partitions)
        self.order = Order()
        self._obeyed: dict[tuple[str, int], Obeyed] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """A record of the topic; False for one that is none of ours, which says nothing."""
        kind, _, task = (key or b"").decode(errors="replace").partition("/")
        stage, _, partition = task.rpartition("/")
        try:
            if key == ORDER_KEY:
                self.order = _ORDER.decode(value or b"{}")
            elif kind == "task" and stage and partition.isdecimal():
                self._obeyed[stage, int(partition)] = _OBEYED.decode(value or b"")
            else:
                return False
        except msgspec.DecodeError:
            return False
        return True

    def has_obeyed(self, stage: str, partition: int) -> bool:
        """Whether a task has obeyed the last order."""
        found = self._obeyed.get((stage, partition))
        return found is not None and found.version == self.order.version

    def committed(self, stage: str, partition: int) -> str:
        """Digest of what a task had committed when it obeyed, "" when it did not say."""
        found = self._obeyed.get((stage, partition))
        return "" if found is None else found.committed

    def waiting_for(self, stage: str | None = None) -> list[tuple[str, int]]:
        """Tasks that have not obeyed the last order, of one stage or of all; none where it is to run."""
        if self.order.wish is Wish.RUN:
            return []
        stages = self._partitions if stage is None else [stage]
        tasks = [(each, partition) for each in stages for partition in range(self._partitions[each])]
        return [task for task in tasks if not self.has_obeyed(*task)]

    @property
    def state(self) -> State:
        """What the topology is, by the table above."""
        return self._state_of(None)

    def stage_states(self) -> dict[str, State]:
        """What the nodes of each stage are, likewise: a stage has obeyed when all of its tasks have."""
        return {stage: self._state_of(stage) for stage in self._partitions}

    def _state_of(self, stage: str | None) -> State:
        return State.RUNNING if self.waiting_for(stage) else _PATHS[self.order.wish][-1]

    def author(self, key: bytes) -> str:
        """The worker that wrote the last record of a key."""
        if key == ORDER_KEY:
            return self.order.worker
        return next((word.worker for task, word in self._obeyed.items() if task_key(*task) == key), "")

    def next_order(
        self, wish: Wish, actor: str, reason: str, at_ms: int, version: int | None = None, worker: str = ""
    ) -> Order | None:
        """The order that follows, None when it is given already. A run that is over is followed by another one.

        version: that of the order it is based on, if that matters. Raises IllegalMove.
        """
        order, what = self.order, f"topology {self._topology}"
        if version is not None and version != order.version:
            raise IllegalMove(f"{what} has had order {order.version} since, not {version}: look at it again")
        if wish is order.wish:
            return None
        state = State.CANCELLED if order.wish is Wish.CANCEL else self.state
        if order.wish is Wish.PAUSE:
            state = State.PAUSED
        run = order.run
        if wish is Wish.RUN and state.is_final:
            state, run = State.RUNNING, run + 1
        for after in _PATHS[wish]:
            state = state if state is after else moved(what, state, after)
        return Order(order.version + 1, run, wish, actor, reason, at_ms, worker)


def task_key(stage: str, partition: int) -> bytes:
    """Key of a task's word."""
    return f"task/{stage}/{partition}".encode()
