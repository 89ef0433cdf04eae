"""Private hook into aiokafka's producer: notice that a transaction call was repeated after a lost answer.

aiokafka repeats EndTxn and its like silently with the same epoch. A first attempt that still lingers in the network
may then end a later transaction (the hazard that KIP-890 closes for newer clients). The remedy is to initialise the
producer anew, which raises the epoch, before the next transaction begins. `Sender._coordinator_dead` is called whenever
a transaction call got no answer, or was sent away by its coordinator.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.sender import Sender

_original = Sender._coordinator_dead


def _coordinator_dead(self: Any, kind: Any) -> None:
    self.repeated_without_answer = True
    _original(self, kind)


def install() -> None:
    """Mark senders whose calls had to be repeated. Idempotent."""
    Sender._coordinator_dead = _coordinator_dead


def is_tainted(producer: AIOKafkaProducer) -> bool:
    """Whether a call of this producer was repeated without an answer."""
    return bool(getattr(producer._sender, "repeated_without_answer", False))
