"""A producer outside of the tasks, without Kafka."""

import asyncio

import pytest

from streamflow.errors import BrokerUnavailable
from streamflow.runtime.fenced_producer import FencedProducer, Send
from streamflow.settings.settings import load_settings


def test_a_transaction_that_takes_too_long_ends_also_when_nobody_answers_its_abort() -> None:
    async def stuck(_send: Send) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        producer = FencedProducer(load_settings(transaction_timeout_ms=1_000), "sf.test")
        producer._producer._txn_manager.set_pid_and_epoch(1, 0)
        deciding = asyncio.create_task(producer.transact(stuck))
        done, _ = await asyncio.wait([deciding], timeout=60)
        assert done == {deciding}
        with pytest.raises(BrokerUnavailable):
            deciding.result()
        assert producer.is_spent
        await producer.stop()

    asyncio.run(main())
