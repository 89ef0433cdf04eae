"""Private hook into aiokafka's producer: notice that a transaction call was repeated after a lost answer.

aiokafka repeats EndTxn and its like silently with the same epoch. A first attempt that still lingers in the network
may then end a later transaction (the hazard that KIP-890 closes for newer clients). The remedy is to initialise the
producer anew, which raises the epoch, before the next transaction begins. A handler's `handle_response` runs exactly
when an answer came; `do` returns or raises in every case.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import ConnectionGroup
from aiokafka.producer.sender import BaseHandler

_original = BaseHandler.do


async def _do(self: Any, node_id: Any) -> Any:
    answered = False
    handle_response = self.handle_response

    def handle(response: Any) -> Any:
        nonlocal answered
        answered = True
        return handle_response(response)

    self.handle_response = handle
    try:
        return await _original(self, node_id)
    finally:
        self.handle_response = handle_response
        if not answered and self.group == ConnectionGroup.COORDINATION:
            self._sender.repeated_without_answer = True


def install() -> None:
    """Mark senders whose calls had to be repeated. Idempotent."""
    BaseHandler.do = _do


def is_tainted(producer: AIOKafkaProducer) -> bool:
    """Whether a call of this producer was repeated without an answer."""
    return bool(getattr(producer._sender, "repeated_without_answer", False))
