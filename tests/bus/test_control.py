"""The control topic as a value: orders and words in any order give what is true of all tasks, and nothing else."""

import random

import msgspec
import pytest

from streamflow.bus.control import ORDER_KEY, Control, Obeyed, Wish, task_key
from streamflow.bus.states import State
from streamflow.errors import IllegalMove

_TASKS = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]
#: What each order leads to when it is obeyed.
_REACHED = {"run": "running", "pause": "paused", "stop": "completed", "cancel": "cancelled"}
#: Orders that may follow: by the order that holds, and whether all have obeyed it.
_FOLLOW = {
    ("run", True): {"pause", "stop", "cancel"},
    ("pause", False): {"run", "stop", "cancel"},
    ("pause", True): {"run", "stop", "cancel"},
    ("stop", False): {"run", "pause", "cancel"},
    ("stop", True): {"run"},
    ("cancel", False): {"run"},
    ("cancel", True): {"run"},
}


class Topic:
    """A control topic with everything that was written to it."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []
        self.control = Control("t", {"a": 2, "b": 3})

    def append(self, key: bytes, value: msgspec.Struct) -> None:
        self.records.append((key, msgspec.json.encode(value)))
        assert self.control.apply(*self.records[-1])

    def order(self, wish: Wish) -> None:
        order = self.control.next_order(wish, "ann", "why", 7)
        assert order is not None
        self.append(ORDER_KEY, order)

    def obey(self, task: tuple[str, int]) -> None:
        self.append(task_key(*task), Obeyed(self.control.order.version, "w", 8))


@pytest.mark.parametrize("wish", list(Wish))
@pytest.mark.parametrize(("held", "done"), list(_FOLLOW))
def test_what_may_follow_an_order(held: str, done: bool, wish: Wish) -> None:
    topic = Topic()
    if held != "run":
        topic.order(Wish(held))
        assert topic.control.state is State.RUNNING, "not yet true of any task"
        for task in _TASKS[:-1] if not done else _TASKS:
            topic.obey(task)
        assert topic.control.waiting_for() == ([] if done else [("b", 2)])
        assert topic.control.state == (_REACHED[held] if done else "running")
    before = topic.control.order
    if wish.value == held:
        assert topic.control.next_order(wish, "bob", "", 9) is None
    elif wish.value not in _FOLLOW[held, done]:
        with pytest.raises(IllegalMove, match=f"is {_REACHED[held]} and cannot become"):
            topic.order(wish)
    else:
        topic.order(wish)
        after = topic.control.order
        is_over = (held, done) in {("stop", True), ("cancel", False), ("cancel", True)}
        assert (after.version, after.run) == (before.version + 1, before.run + is_over)
        assert not topic.control.has_obeyed("a", 0), "words for the order before do not count"
        with pytest.raises(IllegalMove, match="look at it again"):
            topic.control.next_order(wish, "bob", "", 9, version=before.version)


def test_compaction_at_any_place_changes_nothing() -> None:
    chance = random.Random(5)
    topic = Topic()
    for _ in range(60):
        wish = chance.choice(list(Wish))
        try:
            if topic.control.next_order(wish, "", "", 1) is not None:
                topic.order(wish)
        except IllegalMove:
            continue
        for task in chance.sample(_TASKS, chance.choice([2, 5])):
            topic.obey(task)
    assert topic.control.order.version > 20
    for cut in range(0, len(topic.records), 7):
        head = dict(topic.records[:cut])  # the last value of each key
        again = Control("t", {"a": 2, "b": 3})
        for key, value in (*head.items(), *topic.records[cut:]):
            again.apply(key, value)
        assert (again.order, again.state, again.waiting_for()) == (
            topic.control.order,
            topic.control.state,
            topic.control.waiting_for(),
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"\xff", b"{}"),
        (b"order", b"junk"),
        (b"order", b'{"wish":"dance"}'),
        (b"task/a/x", b"{}"),
        (b"task/a/0", None),
    ],
)
def test_records_of_somebody_else_say_nothing(key: bytes | None, value: bytes | None) -> None:
    topic = Topic()
    topic.order(Wish.PAUSE)
    topic.obey(("a", 0))
    assert not topic.control.apply(key, value)
    assert topic.control.has_obeyed("a", 0)
    assert topic.control.order.wish is Wish.PAUSE
